"""The panel that is carried over stays a sample of today's traffic."""

from __future__ import annotations

import numpy as np
import pytest

from components.human_eval.answers import Answer
from components.human_eval.config import GateConfig
from components.human_eval.panel import draw_panel, population
from components.human_eval.plan import WHOLE, Draw, Plan

CONFIG = GateConfig(cap_queries=2000, cap_department=50)


def people(traffic):
    queries = [Answer(q, "item", "", q, "", "", ()) for q in sorted(traffic)]
    return population(queries, traffic, {q: q[0] for q in traffic}, ["a"])


def plan_of(panel, crowd, config=CONFIG):
    draws = tuple(Draw(d.query.query_id, d.query.query_id[0], d.stream, (), d.slots) for d in panel)
    return Plan(
        "v", "", "", "", "1", config.digest, 1, "traffic", None, ("a",), {}, {}, (), draws, (),
        weights={q.query_id: float(w) for q, w in zip(crowd.queries, crowd.weights, strict=True)},
        departments=dict(crowd.departments),
    )  # fmt: skip


def shares(panel, stream=WHOLE):
    names = [d.query.query_id for d in panel if d.stream == stream]
    return {name: names.count(name) / len(names) for name in set(names)}


def test_nine_tenths_stay_in_their_places_with_their_slots():
    rng = np.random.default_rng(1)
    crowd = people({f"a{n}": 1.0 for n in range(50)} | {f"b{n}": 1.0 for n in range(50)})
    first = draw_panel(crowd, CONFIG, rng, None)
    second = draw_panel(crowd, CONFIG, rng, plan_of(first, crowd))
    assert len(first) == len(second)
    kept = np.mean([one == other for one, other in zip(first, second, strict=True)])
    assert kept == pytest.approx(0.9, abs=0.02)
    assert [d.stream for d in first] == [d.stream for d in second]


def test_a_panel_follows_the_traffic_and_leaves_out_what_is_gone():
    rng = np.random.default_rng(2)
    before = people({"a1": 4.0, "a2": 2.0, "b1": 2.0, "b2": 2.0})
    first = draw_panel(before, CONFIG, rng, None)
    now = people({"a1": 1.0, "a3": 4.0, "b1": 2.0, "b2": 3.0})
    second = draw_panel(now, CONFIG, rng, plan_of(first, before))
    found = shares(second)
    assert "a2" not in found
    for name, share in (("a1", 0.1), ("a3", 0.4), ("b1", 0.2), ("b2", 0.3)):
        # 2000 draws: three standard errors are .03.
        assert found[name] == pytest.approx(share, abs=0.035), name
    config = GateConfig(cap_queries=200, cap_department=400)
    streams = draw_panel(before, config, rng, None)
    own = shares(draw_panel(now, config, rng, plan_of(streams, before, config)), "a")
    assert own == {"a1": pytest.approx(0.2, abs=0.09), "a3": pytest.approx(0.8, abs=0.09)}


@pytest.mark.parametrize("change", ["policy", "departments"])
def test_another_design_begins_a_new_panel(change):
    rng = np.random.default_rng(3)
    crowd = people({f"a{n}": 1.0 for n in range(30)} | {f"b{n}": 1.0 for n in range(30)})
    first = draw_panel(crowd, CONFIG, rng, None)
    before = plan_of(first, crowd)
    if change == "policy":
        second = draw_panel(crowd, GateConfig(cap_queries=2000, cap_department=50, tau=0.7),
                            rng, before)  # fmt: skip
    else:
        other = population(crowd.queries, dict.fromkeys(crowd.departments, 1.0),
                           crowd.departments, ["b"])  # fmt: skip
        second = draw_panel(other, CONFIG, rng, before)
    same = np.mean([a.query == b.query for a, b in zip(first, second, strict=False)])
    assert same < 0.2


def test_without_traffic_all_queries_count_alike():
    crowd = people({"a1": 0.0, "b1": 0.0})
    assert crowd.weights.tolist() == [0.5, 0.5]
    assert draw_panel(people({}), CONFIG, np.random.default_rng(1), None) == []
