"""Vendors' files: what counts goes into the log once, what does not is counted by reason."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.errors import InputError
from components.human_eval.exchange import (
    export_ratings,
    export_tasks,
    import_ratings,
    read_file,
    read_imports,
)
from components.human_eval.judge import gather_ratings, look_at
from components.human_eval.owner_actions import record_action

HEAD = "task_id,rater_id,grade,seconds\n"


@pytest.fixture
def campaign(gate):
    gate.publish(raters="web")
    return gate.open()


def bring(campaign, text, kind="csv", **changes):
    data = text if isinstance(text, bytes) else text.encode()
    now = campaign.created + timedelta(minutes=5)
    return import_ratings(campaign, data, kind, source="r", who="tests", now=now, **changes)


def counted(campaign):
    found, _ = gather_ratings(campaign, now=campaign.created + timedelta(minutes=10))
    return [(r.task_id, r.rater_id, r.grade) for r in found.valid]


def test_the_same_file_again_adds_nothing(campaign):
    task = campaign.plan.pairs[0].task_id
    text = f"{HEAD}{task},ann,3,1\n{task},bob,cant_tell,2\n"
    first, second = bring(campaign, text), bring(campaign, text)
    assert (first.added, first.known, second.added, second.known) == (2, 0, 0, 2)
    assert counted(campaign) == [(task, "ann", 3), (task, "bob", None)]
    # An answer cannot be improved afterwards.
    third = bring(campaign, f"{HEAD}{task},ann,0,1\n")
    assert (third.added, dict(third.set_aside)) == (0, {"doubled": 1})
    assert len(read_imports(campaign)) == 2 + 1 or len(read_imports(campaign)) == 2


def test_banned_simulated_and_unknown_are_set_aside(campaign):
    record_action(campaign.store, campaign.prefix, action="ban", subject="eve", by="o",
                  reason="guesses", now=campaign.created)  # fmt: skip
    task = campaign.plan.pairs[0].task_id
    found = bring(campaign, f"{HEAD}{task},eve,3,1\nx,ann,3,1\n{task},simulated:careful-01,3,1\n")
    assert dict(found.set_aside) == {"banned": 1, "simulated": 1, "unknown_task": 1}
    assert counted(campaign) == []
    verdict = look_at(campaign, now=campaign.created + timedelta(minutes=9)).verdict
    assert any("imported files set aside: 1 banned" in note for note in verdict.notes)


def test_a_label_studio_file_out_of_clock_order(campaign):
    task = campaign.plan.pairs[0].task_id

    def answer(who, at):
        return {"completed_by": who, "lead_time": 2, "created_at": at, "result": [
            {"from_name": "grade", "value": {"choices": ["2"]}}]}  # fmt: skip

    ok = (campaign.created + timedelta(minutes=1)).isoformat()
    tasks = [{"data": {"task_id": task}, "annotations": [
        answer("ann", ok), answer("bob", "2020-01-01T00:00:00Z"),
        answer("cem", "2999-01-01T00:00:00Z")]}]  # fmt: skip
    found = bring(campaign, json.dumps(tasks), "label-studio")
    assert dict(found.set_aside) == {"out_of_clock_order": 2}
    assert counted(campaign) == [(task, "ann", 2)]


def test_a_closed_campaign_takes_no_file(gate):
    gate()
    with pytest.raises(InputError, match="no rating counts any more"):
        bring(gate.open(), HEAD)


@pytest.mark.parametrize("kind", ["csv", "label-studio"])
def test_what_is_exported_is_read_back(gate, kind):
    gate()
    campaign = gate.open()
    data = export_ratings(gate.findings.ratings, kind, campaign)
    found, _ = read_file(data, kind, campaign, source="x")
    assert found.set_aside == ()
    assert [(r.task_id, r.rater_id, r.grade) for r in found.valid] == [
        (r.task_id, r.rater_id, r.grade) for r in gate.findings.ratings
    ]
    assert b"task_id" in export_tasks(kind, campaign)


BAD = st.sampled_from(
    ["unknown,ann,3,1", "{t},ann,9,1", "{t},ann,3", "{t},,3,1", "{t},eve,3,1", "{t},ann,3,nan",
     "{t},ann,3,1,x", '"{t}', "{t},simulated:careful-01,3,1", "\x00,\x00,\x00,\x00"]
)  # fmt: skip


@settings(
    max_examples=10, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.lists(BAD, max_size=12), st.randoms(use_true_random=False))
def test_bad_rows_leave_the_others_as_they_are(campaign, bad, shuffle):
    tasks = [pair.task_id for pair in campaign.plan.pairs[:9]]
    good = [f"{task},{who},{n % 4},1.00" for n, task in enumerate(tasks) for who in ("ann", "bob")]
    rows = [*good, *(row.format(t=tasks[0]) for row in bad)]
    shuffle.shuffle(rows)

    def read(lines):
        text = HEAD + "\n".join(lines) + "\n"
        return read_file(text.encode(), "csv", campaign, source="x")[0]

    if not any(a.action == "ban" for a in _actions(campaign)):
        record_action(campaign.store, campaign.prefix, action="ban", subject="eve", by="o",
                      reason="guesses", now=campaign.created)  # fmt: skip
    assert read(rows).valid == read(good).valid
    assert len(read(rows).set_aside) == len(bad)


def _actions(campaign):
    from components.human_eval.owner_actions import read_actions

    return read_actions(campaign.store, campaign.prefix).entries
