from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.contracts.catalog import Item, write_items
from components.contracts.taxonomy import Taxonomy
from components.search import query
from components.search.query import Limits
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher
from serving.item_table import ItemTable
from serving.taxon_filter import TaxonFilter

TAXONOMY = Taxonomy.parse(
    b"taxon_id,parent_id,name\nroot,,All\na,root,A\na1,a,A one\nb,root,B\nb1,b,B one\n"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two hundred items of seventy products in two departments, at random."""
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        Item(f"i{row}", "", "", "a1" if row % 4 else "b1", f"p{rng.integers(70)}")
        for row in range(200)
    ]
    path = tmp_path_factory.mktemp("shop") / "items.jsonl"
    write_items(path, items)
    return ItemTable(path), vectors, items


class Approximate(ExactSearcher):
    """Misses other items at each size of fetch, as an approximate index may."""

    def search(self, queries, k):
        indices, scores = super().search(queries, self.shape[0])
        found = np.full((len(queries), k), -1), np.full((len(queries), k), -1, np.float32)
        for number, row in enumerate(indices):
            kept = (row + k) % 7 != 0
            for filled, values in zip(found, (row, scores[number]), strict=True):
                few = values[kept][:k]
                filled[number, : len(few)] = few
        return found


def find(shop, vector, limits):
    items, vectors, _ = shop
    return query.find(ExactSearcher(vectors), vectors, items.products, vector, limits)


def expected(shop, vector, *, k, allowed):
    """The rule in plain words: the best image of each allowed product."""
    _, vectors, items = shop
    best = {}
    scores = vectors @ vector[0]
    for row in np.argsort(-scores, kind="stable").tolist():
        if allowed(row) and items[row].product_id not in best:
            best[items[row].product_id] = row
    return list(best.values())[:k]


@given(seed=st.integers(0, 10_000), k=st.integers(1, 90), exclude=st.integers(-1, 199))
@settings(max_examples=60, deadline=None)
def test_it_answers_as_the_index_that_everything_was_measured_with(shop, seed, k, exclude):
    items, vectors, records = shop
    searcher = ExactSearcher(vectors)
    vector = np.random.default_rng(seed).normal(size=(1, 8)).astype(np.float32)
    vector /= np.linalg.norm(vector)
    product = -1 if exclude < 0 else int(items.products[exclude])
    products = [[]] if exclude < 0 else [[records[exclude].product_id]]
    index = BundleIndex(records, vectors, searcher)
    theirs = index.answer(vector, k, exclude_products=products)[0]
    ours = query.find(searcher, vectors, items.products, vector, Limits(k=k, product=product))
    assert ours.positions == theirs.positions
    assert ours.scores == pytest.approx(theirs.scores, abs=1e-6)
    assert ours.starved is False


def test_where_products_have_many_views_it_asks_again_as_the_index_does(tmp_path):
    rng = np.random.default_rng(3)
    vectors = np.repeat(rng.normal(size=(10, 8)), 40, axis=0) + 0.05 * rng.normal(size=(400, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    records = [Item(f"i{row}", "", "", "a1", f"p{row // 40}") for row in range(400)]
    write_items(tmp_path / "items.jsonl", records)
    items = ItemTable(tmp_path / "items.jsonl")
    searcher = Approximate(vectors)
    index = BundleIndex(records, vectors, searcher)
    for row in range(0, 400, 7):
        theirs = index.answer(vectors[row : row + 1], 5)[0]
        ours = query.find(searcher, vectors, items.products, vectors[row : row + 1], Limits(k=5))
        assert ours.positions == theirs.positions


@pytest.mark.parametrize("exact_rows", [0, 10_000])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_a_part_of_the_catalog_holds_its_best_items_and_no_others(shop, monkeypatch, exact_rows, k):
    monkeypatch.setattr(query, "EXACT_ROWS", exact_rows)
    items, vectors, records = shop
    part = TaxonFilter(TAXONOMY, items).part("b")
    vector = vectors[3:4]
    found = find(shop, vector, Limits(k=k, part=part))
    inside = expected(shop, vector, k=k, allowed=lambda row: records[row].taxon_id == "b1")
    assert found.positions == inside
    assert found.starved is (len(inside) < k)


def test_withdrawn_items_give_way_to_the_next_ones(shop):
    _, vectors, _ = shop
    vector = vectors[3:4]
    first = find(shop, vector, Limits(k=5)).positions
    gone = frozenset(first[:3])
    found = find(shop, vector, Limits(k=5, withdrawn=gone))
    assert found.positions == expected(shop, vector, k=5, allowed=lambda row: row not in gone)
    assert found.starved is False


def test_a_score_that_few_reach_leaves_few_and_says_so(shop):
    _, vectors, _ = shop
    vector = vectors[3:4]
    everything = find(shop, vector, Limits(k=5))
    threshold = (everything.scores[1] + everything.scores[2]) / 2
    found = find(shop, vector, Limits(k=5, min_score=threshold))
    assert found.positions == everything.positions[:2]
    assert found.starved is True
    assert found.examined < 200


def test_an_answer_that_is_short_because_the_catalog_is_small_is_not_starved(shop):
    _, vectors, records = shop
    products = {record.product_id for record in records}
    found = find(shop, vectors[3:4], Limits(k=100))
    assert (len(found.positions), found.starved) == (len(products), False)


def test_no_more_neighbours_are_fetched_than_allowed(shop, monkeypatch):
    monkeypatch.setattr(query, "EXACT_ROWS", 0)
    monkeypatch.setattr(query, "MOST_FETCHED", 20)
    items, vectors, _ = shop
    part = TaxonFilter(TAXONOMY, items).part("b")
    found = find(shop, vectors[3:4], Limits(k=5, part=part))
    assert found.examined == 20
    assert found.starved is (len(found.positions) < 5)
