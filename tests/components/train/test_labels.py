import numpy as np
import pytest

from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from components.train.labels import EmptyLeaves, LabelSpace


def test_levels_and_products_become_rows(taxonomy):
    labels = LabelSpace.of(taxonomy, ["b", "a", "b"])
    assert labels.products == ("a", "b")
    assert [len(level) for level in labels.levels] == [2, 3]
    assert labels.level_names() == ("department", "leaf")
    rows = labels.rows()
    for level in labels.levels:
        np.testing.assert_array_equal(rows[list(level)], np.arange(len(level)))
    assert rows[-1] == -1
    assert rows[taxonomy.class_id("root")] == -1
    assert LabelSpace.from_mapping(labels.to_mapping()) == labels


def test_a_path_of_another_taxonomy_is_refused(taxonomy):
    labels = LabelSpace.of(taxonomy, [])
    good = [taxonomy.class_id(node) for node in taxonomy.path("chairs")]
    labels.check([good, good[:1], []])
    with pytest.raises(InputError, match=r"class id 99 at level 2 .* run transform again"):
        labels.check([[good[0], 99]])
    with pytest.raises(InputError, match="at level 1"):
        labels.check([good[::-1]])


def test_the_digest_follows_the_classes(taxonomy):
    labels = LabelSpace.of(taxonomy, ["a"])
    assert labels.digest == LabelSpace.of(taxonomy, ["b"]).digest
    assert labels.digest != LabelSpace(labels.levels[:1], ("a",)).digest


def test_classes_know_their_kin():
    table = (
        "taxon_id,parent_id,name\nroot,,All\na,root,A\nb,root,B\na1,a,A1\na2,a,A2\nb1,b,B1\n"
        "a1x,a1,X\na2x,a2,X\na2y,a2,Y\nb1x,b1,X\n"
    )
    tree = Taxonomy.parse(table.encode())
    labels = LabelSpace.of(tree, [])
    assert LabelSpace.from_mapping(labels.to_mapping()) == labels
    name = {tree.class_id(node): node for level in tree.levels for node in level}
    nodes = [[name[class_id] for class_id in level] for level in labels.levels]
    families, departments = labels.groups(2)
    assert [nodes[1][row] for row in families] == [node[:2] for node in nodes[2]]
    assert [nodes[0][row] for row in departments] == [node[0] for node in nodes[2]]
    assert labels.groups(0) == ()


def test_leaves_without_an_example_are_told_by_reason():
    rows = ["root,,All", "a,root,A", *(f"a{n},a,A{n}" for n in range(9))]
    tree = Taxonomy.parse("\n".join(["taxon_id,parent_id,name", *rows, ""]).encode())
    ids = {leaf: tree.class_id(leaf) for leaf in ("a", "a0", "a1", "a2")}
    empty = EmptyLeaves.of(
        tree, trained={ids["a"], ids["a0"]}, held_out={ids["a0"], ids["a1"], ids["a2"]},
        rare={"a0", "a2", "a3"},
    )  # fmt: skip
    assert empty.total == 9
    assert empty.held_out == ("A > A1",)
    assert empty.rare == ("A > A2", "A > A3")
    assert empty.no_image == tuple(f"A > A{n}" for n in range(4, 9))
    assert empty.to_mapping()["empty"] == 8
    assert empty.to_mapping()["rare"] == {"count": 2, "names": ["A > A2", "A > A3"]}
    with pytest.raises(InputError, match=r"9 leaves .*none of 5 \(A > A4; .*empty_leaves=allow"):
        empty.refuse()


def test_a_refusal_names_the_first_few_leaves_and_counts_the_others():
    empty = EmptyLeaves(10, no_image=tuple("abcdefg"), rare=("z",))
    with pytest.raises(InputError, match=r"received none of 7 \(a; b; c; d; e; 2 more\)"):
        empty.refuse()
    EmptyLeaves(10, rare=("z",), held_out=("y",)).refuse()
