import math

import numpy as np
import pytest

from components.contracts.catalog import Item, Query
from components.contracts.taxonomy import Taxonomy
from components.evaluate.questions import (
    ask,
    figures,
    item_questions,
    means,
    records,
    shopper_questions,
)
from components.evaluate.relevance import Relevance
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher

RELEVANCE = Relevance(
    Taxonomy.parse(
        b"taxon_id,parent_id,name\nroot,,All\nseat,root,Seating\ntable,root,Tables\n"
        b"sofa,seat,Sofas\nstool,seat,Stools\ndesk,table,Desks\n"
    )
)


def circle(*degrees):
    angles = np.deg2rad(np.array(degrees, np.float64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def item(item_id, product, taxon):
    return Item(item_id, f"{item_id}.png", f"hash-{item_id}", taxon, product)


# Seen from 0 degrees: B (desk), A (sofa; the view at 25 is a double), C (stool), D (sofa).
ITEMS = [
    item("a1", "A", "sofa"),
    item("a2", "A", "sofa"),
    item("b1", "B", "desk"),
    item("c1", "C", "stool"),
    item("d1", "D", "sofa"),
]
VECTORS = circle(20, 25, 10, 30, 40)
INDEX = BundleIndex(ITEMS, VECTORS, ExactSearcher(VECTORS))
LABELS = {entry.item_id: entry.taxon_id for entry in ITEMS}
PRODUCTS = frozenset("ABCD")


def one(query, vector, labels=LABELS):
    asked = ask(INDEX, shopper_questions([query]), vector, k=10)
    return {name: values[0] for name, values in figures(asked, RELEVANCE, labels, PRODUCTS).items()}


def test_a_photo_by_hand():
    values = one(Query("q", "q.png", "h", "A", "sofa"), circle(0))
    # Answers: B desk, A sofa, C stool, D sofa.
    assert values["leaf_hit_at_10"] == 1
    assert values["leaf_precision_at_5"] == pytest.approx(2 / 5)
    assert values["leaf_precision_at_10"] == pytest.approx(2 / 10)
    assert values["department_precision_at_10"] == pytest.approx(3 / 10)
    assert values["product_recall_at_1"] == 0
    assert values["product_recall_at_5"] == 1
    dcg = [1 / math.log2(place + 1) for place in (1, 2, 3, 4)]
    assert values["leaf_ndcg_at_10"] == pytest.approx((dcg[1] + dcg[3]) / (dcg[0] + dcg[1]))
    assert values["department_ndcg_at_10"] == pytest.approx(sum(dcg[1:]) / sum(dcg[:3]))
    gained = dcg[1] + 0.5 * dcg[2] + dcg[3]
    assert values["ndcg_at_10"] == pytest.approx(gained / (dcg[0] + dcg[1] + 0.5 * dcg[2]))


def test_what_is_unknown_is_not_measured():
    values = one(Query("q", "q.png", "h", "", "sofa"), circle(0))
    assert math.isnan(values["product_recall_at_10"])
    values = one(Query("q", "q.png", "h", "not-in-the-catalog", "seat"), circle(0))
    assert math.isnan(values["product_recall_at_10"])
    assert math.isnan(values["leaf_hit_at_10"])
    assert values["department_precision_at_10"] == pytest.approx(3 / 10)
    values = one(Query("q", "q.png", "h", "A", "gone"), circle(0))
    assert math.isnan(values["ndcg_at_10"])
    assert values["product_recall_at_10"] == 1


def test_todays_labels_count_not_those_of_the_index():
    relabelled = {**LABELS, "b1": "sofa"}
    values = one(Query("q", "q.png", "h", "A", "sofa"), circle(0), relabelled)
    assert values["leaf_precision_at_10"] == pytest.approx(3 / 10)
    gone = {key: value for key, value in LABELS.items() if key != "d1"}
    values = one(Query("q", "q.png", "h", "A", "sofa"), circle(0), gone)
    assert values["leaf_precision_at_10"] == pytest.approx(2 / 10)


def test_a_catalog_image_leaves_its_own_product_out():
    questions = item_questions(ITEMS[:1], RELEVANCE, count=5, seed=0)
    asked = ask(INDEX, questions, VECTORS[:1], k=10)
    assert asked.hits[0].product_ids == ["B", "C", "D"]
    values = figures(asked, RELEVANCE, LABELS, PRODUCTS)
    assert values["leaf_precision_at_10"].tolist() == [pytest.approx(1 / 10)]
    # D is the only other sofa: the best answer has it first, this one third.
    assert values["leaf_ndcg_at_10"].tolist() == [pytest.approx(1 / math.log2(4))]
    assert np.isnan(values["product_recall_at_10"]).all()


def test_sample_of_items_is_stable_and_has_leaves_for_labels():
    many = [item(f"i{n}", f"p{n}", "sofa") for n in range(50)]
    first = [q.query_id for q in item_questions(many, RELEVANCE, count=10, seed=0)]
    again = [q.query_id for q in item_questions(many[::-1], RELEVANCE, count=10, seed=0)]
    other = [q.query_id for q in item_questions(many, RELEVANCE, count=10, seed=1)]
    assert first == again
    assert len(set(first)) == 10
    assert first != other
    vague = [item("x", "x", "seat"), item("y", "y", "root"), item("z", "z", "gone")]
    assert item_questions(vague, RELEVANCE, count=10, seed=0) == []


def test_means_leave_unknowns_out():
    per_query = {"a": np.array([1.0, np.nan, 0.0]), "b": np.full(3, np.nan)}
    assert means(per_query) == {"a": 0.5, "queries": 3}
    assert means(per_query, np.array([True, True, False])) == {"a": 1.0, "queries": 2}
    assert means(per_query, np.zeros(3, bool)) == {"queries": 0}


def test_records_are_what_raters_judge():
    asked = ask(INDEX, shopper_questions([Query("q", "q.png", "h", "A", "sofa")]), circle(0), k=2)
    [record] = records(asked, {**LABELS, "b1": "stool"})
    score = record["results"][0].pop("score")
    assert score == pytest.approx(math.cos(math.radians(10)), abs=1e-6)
    assert record["results"][0] == {
        "item_id": "b1",
        "product_id": "B",
        "taxon_id": "stool",
        "image": "b1.png",
        "content_hash": "hash-b1",
    }
    assert [result["item_id"] for result in record["results"]] == ["b1", "a1"]
    assert {key: record[key] for key in record if key != "results"} == {
        "query_id": "q",
        "kind": "shopper",
        "image": "q.png",
        "content_hash": "h",
        "taxon_id": "sofa",
        "product_id": "A",
    }
