"""The policy: production defaults, and what it refuses to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.contracts.errors import InputError
from components.human_eval.config import GateConfig


def test_production_defaults_are_those_of_the_method():
    config = GateConfig()
    assert (config.alpha, config.tau, config.floor, config.margin) == (0.05, 0.80, 0.70, 0.02)
    assert (config.slots, config.look_every, config.first_look_queries) == (2, 25, 50)
    assert (config.first_look_pairs, config.cap_queries, config.cap_department) == (1000, 2000, 400)
    assert (config.cap_non_inferiority, config.cap_high_churn) == (800, 2000)
    assert (config.guarded_traffic_share, config.guarded_most) == (0.02, 12)
    assert (config.deadline_hours, config.ratings_per_pair) == (72, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", 0.0), ("alpha", 0.6), ("tau", 1.0), ("tau", -0.1), ("floor", 0.995),
        ("margin", 0.0), ("ratings_per_pair", 1), ("qualification_golds", 29),
        ("least_golds_a_side", 49), ("gold_pool", 99), ("gold_youden", 0.39),
        ("peer_youden", 0.24), ("least_youden", 0.69), ("most_youden", 0.86),
        ("most_banned", 0.41), ("most_rater_share", 0.26), ("least_raters", 4),
        ("most_cant_tell", 0.06), ("sampling", "pairs"), ("query_kind", "photos"),
        ("slots", 6), ("deadline_hours", 0.0), ("look_every", 0),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_believed_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=rf"human_eval\.{field}: expected .* received"):
        replace(GateConfig(), **{field: value})


def test_json_round_trip_and_unknown_settings():
    config = GateConfig.demo(tau=0.3, floor=0.1, seed=5)
    assert GateConfig.from_json(config.to_json()) == config
    with pytest.raises(InputError, match=r"human_eval\.hard_labels"):
        GateConfig.from_json({"hard_labels": True})


def test_the_digest_hangs_on_what_decides_and_on_nothing_else():
    config = GateConfig()
    assert replace(config, tau=0.79).digest != config.digest
    assert replace(config, seats=3, panel="careful=6", policy="other").digest == config.digest
