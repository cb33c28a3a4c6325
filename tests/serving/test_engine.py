from __future__ import annotations

from dataclasses import replace

import pytest

from components.search.query import Wanted
from serving.engine import Engine


def ask(bundle, item_id, k=10, **wanted):
    position = bundle.items.position(item_id)
    limits = bundle.limits(Wanted(k=k, **wanted), position)
    return bundle.hits(bundle.find(bundle.vector(position), limits))


def ids(hits):
    return [hit.item.item_id for hit in hits]


def test_similar_leaves_out_the_item_and_its_product_and_keeps_one_image_a_product(maker):
    bundle = maker.loaded()
    hits = ask(bundle, "red1", 100)
    assert sorted(hit.item.product_id for hit in hits) == [
        "blue",
        "green",
        "grey",
        "orange",
        "yellow",
    ]
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    # Both oranges by hand; the better one stands for the product.
    red = maker.unit((220, 30, 30))
    assert hits[0].item.product_id == "orange"
    expected = max(red @ maker.unit((230, 130, 30)), red @ maker.unit((211, 119, 27)))
    assert hits[0].score == pytest.approx(float(expected), abs=1e-6)


def test_the_other_image_of_the_same_product_comes_first_when_it_is_wanted(maker):
    bundle = maker.loaded()
    hits = ask(bundle, "red1", 3, exclude_same_product=False)
    assert ids(hits)[0] == "red2"
    assert len(hits) == 3
    assert ids(hits)[1:] == ids(ask(bundle, "red1", 2))


def test_a_taxon_that_left_the_tree_has_no_path(maker):
    bundle = maker.loaded()
    item = bundle.item("red1")
    assert bundle.taxon_path(item) == "Seating > Sofas <b>"
    assert bundle.taxon_path(replace(item, taxon_id="gone")) == ""


def test_many_queries_get_the_answers_of_single_ones(maker):
    bundle = maker.loaded()
    positions = [0, 3, 7, 7]
    wanted = [Wanted(k=2), Wanted(k=5), Wanted(k=3, taxon_id="seating"), Wanted(k=1)]
    limits = [bundle.limits(one, row) for one, row in zip(wanted, positions, strict=True)]
    many = bundle.find_many(bundle.vectors[positions], limits)
    for found, row, one in zip(many, positions, limits, strict=True):
        alone = bundle.find(bundle.vector(row), one)
        assert found.positions == alone.positions
        assert found.scores == pytest.approx(alone.scores, abs=1e-6)
        assert found.starved == alone.starved


def test_items_are_answered_from_the_table_and_where_it_cannot_by_a_search(maker, small_table):
    bundle = small_table(maker.loaded("v1"))
    wanted = [Wanted(3), Wanted(5), Wanted(3, taxon_id="lamp"), Wanted(3, min_score=0.9)]
    asked = [bundle.limits(one, row) for one in wanted for row in range(12)]
    known = [bundle.known(limits) for limits in asked]
    assert [row is not None for row in known] == [True] * 12 + [False] * 36
    for limits, found in zip(asked, bundle.find_items(asked), strict=True):
        alone = bundle.find(bundle.vector(limits.own), limits)
        assert (found.positions, found.starved) == (alone.positions, alone.starved)
        assert found.scores == pytest.approx(alone.scores, abs=1e-6)
    # What is withdrawn takes no part, and neither do rows that hold it.
    bundle.hide(["orange1", "grey2"])
    hidden = {bundle.items.position(name) for name in ("orange1", "grey2")}
    limits = [bundle.limits(Wanted(3), row) for row in range(12)]
    assert {bundle.known(one) is None for one in limits} == {True, False}
    for one, found in zip(limits, bundle.find_items(limits), strict=True):
        assert found.positions == bundle.find(bundle.vector(one.own), one).positions
        assert hidden.isdisjoint(found.positions)


def test_a_withdrawn_item_is_hidden_in_every_bundle_and_shown_again(maker):
    engine = Engine()
    engine.swap(maker.loaded("v1"))
    first = ids(ask(engine.current, "red1"))[0]
    engine.withdraw([first, "not-in-any-bundle"])
    assert first not in ids(ask(engine.current, "red1"))
    engine.swap(maker.loaded("v2"))
    assert first not in ids(ask(engine.current, "red1"))
    assert first not in ids(ask(engine.previous, "red1"))
    engine.withdraw([])
    assert ids(ask(engine.current, "red1"))[0] == first
    assert ids(ask(engine.previous, "red1"))[0] == first


def test_a_swap_clears_the_failure_and_counts(maker):
    engine = Engine()
    assert engine.describe()["ready"] is False
    engine.status.failed_version, engine.status.failed_reason = "v2", "damaged"
    assert engine.describe()["failed"] == {"version": "v2", "reason": "damaged"}
    engine.swap(maker.loaded("v3"))
    detail = engine.describe()
    assert (detail["ready"], detail["version"], detail["swaps"]) == (True, "v3", 1)
    assert "failed" not in detail


def test_the_bundle_before_stays_in_memory_unless_told_otherwise(maker):
    first, second = maker.loaded("v1"), maker.loaded("v2")
    engine = Engine()
    engine.swap(first)
    engine.swap(second)
    assert (engine.kept("v1"), engine.kept("v2"), engine.kept("v0")) == (first, second, None)
    engine = Engine(keep_previous=False)
    engine.swap(first)
    engine.swap(second)
    assert engine.kept("v1") is None
