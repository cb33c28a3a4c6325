import numpy as np
import pytest

from components.contracts.taxonomy import Taxonomy
from components.evaluate.relevance import Ideal, Relevance

TREE = Taxonomy.parse(
    b"taxon_id,parent_id,name\nroot,,All\nseat,root,Seating\nsoft,seat,Soft\nsofa,soft,Sofas\n"
    b"pouf,soft,Poufs\nstool,seat,Stools\ntable,root,Tables\ndesk,table,Desks\n"
)
RELEVANCE = Relevance(TREE)


@pytest.mark.parametrize(
    ("query", "answer", "leaf", "department", "shared"),
    [
        ("sofa", "sofa", 1, 1, 1),
        ("sofa", "pouf", 0, 1, 2 / 3),
        ("sofa", "stool", 0, 1, 1 / 3),
        ("sofa", "soft", 0, 1, 2 / 3),  # Labelled no deeper: not shown to be a sofa.
        ("sofa", "desk", 0, 0, 0),
        ("sofa", "root", 0, 0, 0),
        ("stool", "sofa", 0, 1, 1 / 2),
        ("sofa", "gone", 0, 0, 0),
        ("gone", "gone", 0, 0, 0),
        ("root", "root", 0, 0, 0),
    ],
)
def test_gains_by_hand(query, answer, leaf, department, shared):
    assert RELEVANCE.gain(query, answer, "leaf") == leaf
    assert RELEVANCE.gain(query, answer, "department") == department
    assert RELEVANCE.gain(query, answer, "any") == pytest.approx(shared)


def test_leaves_and_departments():
    assert RELEVANCE.is_leaf("sofa")
    assert not RELEVANCE.is_leaf("soft")
    assert not RELEVANCE.is_leaf("gone")
    assert RELEVANCE.department("pouf") == "seat"
    assert RELEVANCE.department("root") == ""
    assert RELEVANCE.department("gone") == ""


def test_ideal_counts_products_not_images():
    labels = [("A", "sofa"), ("A", "sofa"), ("B", "sofa"), ("C", "pouf"), ("D", "desk")]
    ideal = Ideal(RELEVANCE, labels)
    gains = ideal.gains([("sofa", ""), ("sofa", "A"), ("sofa", "D"), ("desk", "D")], 4, "any")
    two = 2 / 3
    np.testing.assert_allclose(gains, [[1, 1, two, 0], [1, two, 0, 0], [1, 1, two, 0], [0] * 4])
    leaf = ideal.gains([("sofa", ""), ("stool", "")], 2, "leaf")
    assert leaf.tolist() == [[1, 1], [0, 0]]


def test_a_product_with_two_labels_counts_once_at_its_best():
    ideal = Ideal(RELEVANCE, [("A", "sofa"), ("A", "pouf"), ("B", "stool")])
    gains = ideal.gains([("sofa", ""), ("sofa", "A")], 3, "any")
    np.testing.assert_allclose(gains, [[1, 1 / 3, 0], [1 / 3, 0, 0]])


def test_leaving_out_a_product_beyond_the_first_places():
    labels = [(f"s{n}", "sofa") for n in range(5)] + [("p", "pouf")]
    gains = Ideal(RELEVANCE, labels).gains([("sofa", "p"), ("sofa", "s1")], 3, "any")
    assert gains.tolist() == [[1, 1, 1], [1, 1, 1]]
