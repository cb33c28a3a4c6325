"""The refusal list of the method, line by line: none of these ever passes.

What is refused by one function alone has its test beside that function; here each line of the list
goes through the whole verdict of a campaign that passes without it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from components.contracts.errors import InputError
from components.human_eval.aggregate import aggregate
from components.human_eval.decision import Component, Look, decide
from components.human_eval.judge import evaluate
from components.human_eval.raters import RaterReport


@pytest.fixture(scope="module")
def sound(tiny, tmp_path_factory, gate_class):
    """A campaign that passes, and its labels."""
    from components.human_eval.config import GateConfig

    def policy(**overrides):
        settings = {"tau": 0.5, "floor": 0.3, "first_look_pairs": 100, "guarded_products": 10}
        return GateConfig.demo(**{**settings, **overrides})

    gate = gate_class(tiny, tmp_path_factory.mktemp("sound"), policy)
    assert gate().status == "pass"
    gate.labels = gate.findings.labels
    gate.campaign = gate.findings.campaign
    return gate


def status(sound, *, labels=None, campaign=None, config=None):
    campaign = campaign or sound.campaign
    verdict, _ = evaluate(
        campaign, labels or sound.labels, config or campaign.config,
        now=sound.now + timedelta(minutes=9), own=config is None,
    )  # fmt: skip
    return verdict.status


def test_the_campaign_passes_without_any_of_it(sound):
    assert status(sound) == "pass"


def test_stuck_queries_are_not_skipped(sound):
    first = sound.campaign.plan.draws[0].tasks[0]
    scores = {task: score for task, score in sound.labels.scores.items() if task != first}
    labels = replace(sound.labels, scores=scores, needed={first: 3})
    assert status(sound, labels=labels) == "undecided"


def test_an_unjudged_slot_never_counts_as_anything(sound):
    task = sound.campaign.plan.draws[30].tasks[0]
    scores = {name: score for name, score in sound.labels.scores.items() if name != task}
    verdict, parts = evaluate(
        sound.campaign, replace(sound.labels, scores=scores, needed={task: 1}),
        sound.campaign.config, now=sound.now,
    )  # fmt: skip
    assert len(parts[0].scores) == 25
    assert verdict.status != "pass"


@pytest.mark.parametrize("score", [float("nan"), -0.1, 1.1, float("inf")])
def test_what_is_no_score_is_refused(sound, score):
    task = sound.campaign.plan.draws[0].tasks[0]
    with pytest.raises(InputError, match="expected a number in"):
        status(sound, labels=replace(sound.labels, scores={**sound.labels.scores, task: score}))


def test_nothing_at_all_is_refused():
    with pytest.raises(InputError, match="at least one component"):
        decide([], alpha=0.05, look=Look(True))
    empty = Component("similarity", "all", (), 0.5, 10)
    assert decide([empty], alpha=0.05, look=Look(True))[0].status == "undecided"


@pytest.mark.parametrize(
    "changes",
    [
        {"cant_tell": 30}, {"gold_positives": 49}, {"gold_negatives": 49},
        {"youden_bound": 0.69}, {"youden_bound": None, "youden": None}, {"few_raters": 4},
        {"banned": 8}, {"one_rater": True}, {"leaked": 5},
    ],
    ids=str,
)  # fmt: skip
def test_raters_and_golds_that_cannot_be_trusted(sound, changes):
    labels = sound.labels
    counted = [report for report in labels.raters if report.standing == "counted"]

    def strangers(number, standing):
        return [RaterReport(f"b{n}", 9, 30, 0.1, 0.1, standing) for n in range(number)]

    if "cant_tell" in changes:
        changes = {"cant_tell": frozenset(list(labels.scores)[:30])}
    elif "few_raters" in changes:
        changes = {"raters": tuple(counted[:4])}
    elif "banned" in changes:
        changes = {"raters": (*counted, *strangers(8, "banned_golds"))}
    elif "leaked" in changes:
        changes = {"raters": (*counted, *strangers(5, "banned_peers"))}
    elif "one_rater" in changes:
        changes = {"counted": {counted[0].rater_id: 30, counted[1].rater_id: 80}}
    assert status(sound, labels=replace(labels, **changes)) == "fail"


def test_scores_are_soft_neither_votes_nor_hard_labels(sound):
    """A pair that two of three call similar scores neither 1 nor 2/3."""
    campaign = sound.campaign
    labels = aggregate(campaign.plan, sound.findings.ratings, campaign.config)
    by_task = {}
    for rating in sound.findings.ratings:
        by_task.setdefault(rating.task_id, []).append(rating.grade)
    split = [
        labels.scores[task] for task, grades in by_task.items()
        if task in labels.scores and None not in grades and len(grades) == 3
        and sum(grade >= 2 for grade in grades) == 2
    ]  # fmt: skip
    assert split
    assert all(score not in (0.0, 1.0) and abs(score - 2 / 3) > 1e-6 for score in split)


@pytest.mark.parametrize("problem", ["the sampling plan was changed after it was recorded"])
def test_whatever_was_changed_during_the_campaign(sound, problem):
    assert status(sound, campaign=replace(sound.campaign, problems=(problem,))) == "fail"


def test_an_incumbent_with_no_anchor_is_not_enough(sound):
    config = replace(sound.campaign.config, anchor_required=True)
    plan = replace(
        sound.campaign.plan, incumbent="old", incumbent_digest="9" * 64, churn=0.0,
        policy_digest=config.digest,
    )  # fmt: skip
    campaign = replace(sound.campaign, plan=plan, config=config)
    assert status(sound, campaign=campaign) == "undecided"
    bare = replace(config, anchor_required=False)
    plan = replace(plan, policy_digest=bare.digest)
    assert status(sound, campaign=replace(campaign, plan=plan, config=bare)) == "pass"


def test_a_guarded_department_without_a_stream(sound):
    plan = replace(sound.campaign.plan, guarded=(*sound.campaign.plan.guarded, "forgotten"))
    assert status(sound, campaign=replace(sound.campaign, plan=plan)) == "undecided"


@pytest.mark.parametrize(
    ("name", "value"),
    [("ratings_per_pair", 1), ("least_raters", 4), ("most_rater_share", 0.3), ("gold_youden", 0.3),
     ("peer_youden", 0.2), ("least_youden", 0.6), ("most_youden", 0.9), ("most_banned", 0.5),
     ("most_cant_tell", 0.1), ("least_golds_a_side", 40), ("qualification_golds", 20),
     ("anchor_days", 7), ("history_days", 30)],
)  # fmt: skip
def test_no_policy_can_switch_a_refusal_off(policy, name, value):
    with pytest.raises(InputError, match=f"human_eval.{name}"):
        policy(**{name: value})
