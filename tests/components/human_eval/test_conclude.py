"""Looks that change something: decisions close, expiry keeps what was said, faults do neither."""

from __future__ import annotations

from datetime import timedelta

from components.human_eval.ask import let_simulated_raters_rate, read_outcomes
from components.human_eval.conclude import expire_campaign, judge_campaign, judgements_prefix, keep
from components.human_eval.history import decode


def judgements(gate):
    return [
        entry
        for info in gate.store.list(judgements_prefix("prod", "1"))
        for entry in decode(gate.store.read(info.key)[0], source=info.key)
    ]


def test_a_decision_closes_and_leaves_outcome_and_judgements_once(gate):
    verdict = gate(quality=0.95)
    (outcome,) = read_outcomes(gate.store, "prod")
    assert (outcome.status, outcome.version, outcome.simulated) == ("pass", "v1", True)
    assert outcome.ratings == len(gate.findings.ratings)
    assert outcome.similarity == next(
        check.observed for check in verdict.checks if check.name == "similarity"
    )
    counted = {r.rater_id for r in gate.findings.labels.raters if r.standing == "counted"}
    said = sum(rating.rater_id in counted for rating in gate.findings.ratings)
    assert len(judgements(gate)) == said > 0
    # Killed between, it is done again: nothing is there twice.
    keep(gate.findings)
    assert len(judgements(gate)) == said
    assert gate.open().state.state == "decided"


def test_who_only_wants_to_know_changes_nothing(gate):
    gate.publish(quality=0.95)
    material, now = gate.material("v1", 0.95), gate.now + timedelta(minutes=1)
    let_simulated_raters_rate(gate.open(), material, now=now)
    findings = judge_campaign(
        gate.open(), now=now + timedelta(minutes=1), who="tests", record=False
    )
    assert findings.verdict.status == "pass"
    assert not gate.open().state.closed
    assert read_outcomes(gate.store, "prod") == []
    assert judgements(gate) == []


def test_expiry_is_on_record_with_who_and_why_and_keeps_what_was_said(gate):
    gate.publish(raters="simulated", quality=0.95)
    now = gate.now + timedelta(minutes=1)
    let_simulated_raters_rate(gate.open(), gate.material("v1", 0.95), now=now)
    campaign = gate.open()
    findings = expire_campaign(
        campaign, now=now + timedelta(minutes=1), who="eve", why="the photos are wrong"
    )
    assert findings.verdict.status == "expired"
    assert gate.open(campaign.id).state.why == "closed by eve: the photos are wrong"
    assert judgements(gate)
    assert [entry.status for entry in read_outcomes(gate.store, "prod")] == ["expired"]


def test_a_damaged_campaign_neither_passes_nor_ends(gate):
    gate.publish(quality=0.95)
    campaign = gate.open()
    key = f"{campaign.prefix}tasks.jsonl"
    data, generation = gate.store.read(key)
    gate.store.write(key, data + b"{}\n", if_generation=generation)
    findings = judge_campaign(gate.open(), now=gate.now + timedelta(minutes=1), who="tests")
    assert findings.verdict.status == "fail"
    assert not gate.open().state.closed
    assert read_outcomes(gate.store, "prod") == []
