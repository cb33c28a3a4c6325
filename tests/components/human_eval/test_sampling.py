"""Plans: recorded, blind, bound to what they judge, with golds that are no live pairs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from components.human_eval.answers import read_answers
from components.human_eval.config import GateConfig
from components.human_eval.pairs import Binding, Shop, image_name
from components.human_eval.plan import CANDIDATE, INCUMBENT, POOLED, WHOLE
from components.human_eval.sampling import draw_plan, guarded_departments


@pytest.fixture
def draw(tiny, binding, tmp_path):
    def make(config, *, quality=0.6, incumbent=None, binding=binding, items=None, kind="shopper"):
        path = tiny.answers(tmp_path / "c.jsonl", quality, kind=kind)
        candidate = read_answers(path, kind=config.query_kind, results=config.results)
        before = None
        if incumbent is not None:
            path = tiny.answers(tmp_path / "i.jsonl", incumbent, seed=2, kind=kind)
            before = read_answers(path, kind=config.query_kind, results=config.results)
        shop = Shop(tiny.items if items is None else items, tiny.taxonomy)
        return draw_plan(
            binding, candidate=candidate, incumbent=before, missing=(), shop=shop, config=config
        )[0]

    return make


def test_a_census_holds_every_query_once_with_every_slot(draw, policy, tiny):
    plan = draw(policy())
    assert sorted(d.query_id for d in plan.draws) == sorted(q.query_id for q in tiny.queries)
    assert [d.query_id for d in plan.draws] != sorted(q.query_id for q in tiny.queries)
    assert {len(d.tasks) + d.empty for d in plan.draws} == {5}
    assert {d.stream for d in plan.draws} == {WHOLE}


def test_the_same_candidate_gets_the_same_plan_and_another_one_another_order(draw, policy):
    config = policy()
    assert draw(config) == draw(config)
    other = Binding("v2", "f" * 64, "", "")
    one, two = draw(config), draw(config, binding=other)
    assert [d.query_id for d in one.draws] != [d.query_id for d in two.draws]


def test_raters_see_neither_side_nor_gold_nor_order(draw, policy):
    plan = draw(policy(), incumbent=0.3)
    view = plan.rater_view()
    assert {frozenset(record) for record in view} == {
        frozenset({"task_id", "query_image", "result_image"})
    }
    assert [r["task_id"] for r in view] == sorted(r["task_id"] for r in view)
    assert len(view) == len(plan.pairs)
    # Where a task stands in the view says nothing of what it is.
    kinds = [
        "gold" if pair.gold is not None else pair.side
        for pair in sorted(plan.pairs, key=lambda pair: pair.task_id)
    ]
    half = len(kinds) // 2
    for kind in ("gold", CANDIDATE, INCUMBENT):
        share = kinds[:half].count(kind) / max(1, kinds.count(kind))
        assert 0.35 < share < 0.65
    assert "d0l0" not in json.dumps(view)


def test_golds_are_balanced_true_and_no_live_pairs(draw, policy, tiny):
    plan = draw(policy())
    item = {i.item_id: i for i in tiny.items}
    query = {q.query_id: q for q in tiny.queries}
    assert Counter(gold.gold for gold in plan.golds) == {3: 50, 0: 50}
    for gold in plan.golds:
        same = item[gold.item_id].product_id == query[gold.query_id].product_id
        assert same == (gold.gold == 3)
        if gold.gold == 0:
            assert item[gold.item_id].taxon_id[:2] != query[gold.query_id].taxon_id[:2]
    assert not {g.task_id for g in plan.golds} & set(plan.recorded_tasks())


def test_a_catalog_without_other_views_has_crops_that_measure_nothing(draw, policy, tiny):
    single = [replace(item, product_id=item.item_id) for item in tiny.items]
    golds = draw(policy(), items=single).golds
    assert Counter((gold.gold, gold.source) for gold in golds) == {(3, "crop"): 50, (0, "far"): 50}


def test_traffic_sampling_follows_the_traffic(draw, tiny):
    """Production: 2000 draws with replacement, 2 slots each, department streams up to 400."""
    busy = {"d0": 8.0, "d1": 4.0, "d2": 4.0, "d3": 0.0}
    config = GateConfig(query_kind="item")
    # The queries' ids are looked up among the items for their traffic.
    items = [
        *tiny.items,
        *(
            replace(tiny.items[0], item_id=q.query_id, traffic=busy[q.taxon_id[:2]])
            for q in tiny.queries
        ),
    ]
    plan = draw(config, items=items, kind="item")
    whole = [d for d in plan.draws if d.stream == WHOLE]
    assert len(whole) == 2000
    assert {len(d.tasks) for d in plan.draws} == {2}
    share = Counter(d.department for d in whole)
    assert share["d0"] / 2000 == pytest.approx(0.5, abs=0.04)
    assert share["d3"] == 0
    assert plan.guarded == ("d0", "d1", "d2")
    slots = Counter(slot for d in whole for slot in d.tasks)
    assert len(slots) > 200
    for name in plan.guarded:
        assert sum(d.department == name for d in plan.draws) >= 400


def test_departments_are_guarded_by_traffic_or_by_products():
    traffic = {f"d{i}": 0.07 for i in range(14)} | {"small": 0.019, "unknown": 0.5}
    found = guarded_departments(GateConfig(), traffic=traffic, products={})
    assert len(found) == 12
    assert "small" not in found
    assert "unknown" not in found
    demo = GateConfig.demo(tau=0.3, floor=0.1)
    assert guarded_departments(demo, traffic=traffic, products={"d1": 20, "d2": 19}) == ("d1",)


def test_small_departments_are_pooled(draw, policy):
    plan = draw(policy(guarded_products=19))
    assert plan.guarded == ()
    assert {pair.stratum for pair in plan.pairs} == {POOLED}


def test_churn_counts_changed_slots_and_delisted_results_count_neither_way(draw, policy, tiny):
    config = policy()
    same = draw(config, incumbent=0.6)
    assert 0.5 < same.churn <= 1.0
    assert len(same.comparisons) == 300
    side = {pair.task_id: pair.side for pair in same.pairs}
    assert {side[c.added] for c in same.comparisons} == {CANDIDATE}
    assert {side[c.removed] for c in same.comparisons} == {INCUMBENT}
    # Only what the incumbent shows and is still sold can have been removed.
    kept = [item for item in tiny.items if item.taxon_id[:2] == "d0"]
    fewer = draw(config, incumbent=0.6, items=kept)
    assert fewer.churn < same.churn
    pairs = {pair.task_id: pair for pair in fewer.pairs}
    assert {pairs[c.removed].item_id[:2] for c in fewer.comparisons} == {"d0"}


def test_a_change_within_the_margin_needs_no_comparison(draw, policy, tiny, binding, tmp_path):
    config = policy()
    path = tiny.answers(tmp_path / "same.jsonl", 0.6)
    answers = read_answers(path, kind="shopper", results=5)
    plan, _ = draw_plan(
        binding, candidate=answers, incumbent=answers, missing=(), shop=tiny.shop, config=config
    )
    assert plan.churn == 0.0
    assert plan.comparisons == ()


def test_unanswered_queries_count_zero_and_are_mentioned(tiny, policy, binding, tmp_path):
    answers = read_answers(tiny.answers(tmp_path / "c.jsonl", 0.6), kind="shopper", results=5)
    lost = answers.pop(tiny.queries[0].query_id)
    plan, _ = draw_plan(
        binding, candidate=answers, incumbent=None, missing=[replace(lost, results=())],
        shop=tiny.shop, config=policy(),
    )  # fmt: skip
    draw = next(d for d in plan.draws if d.query_id == lost.query_id)
    assert (draw.tasks, draw.empty) == ((), 5)
    assert "1 queries of the catalog have no answer" in plan.notes[0]


def test_image_names_are_content_hashes():
    assert image_name("ab" * 32, "/shop/best-seller-incumbent.JPG") == f"images/{'ab' * 16}.jpg"
    assert image_name("ab" * 32, "file:///x/no_suffix") == f"images/{'ab' * 16}"


def test_items_without_a_label_are_in_no_department(tiny):
    assert tiny.shop.department("d1l0") == "d1"
    assert tiny.shop.department("root") == "unknown"
    assert tiny.shop.department("gone") == "unknown"
