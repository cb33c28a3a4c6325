"""Campaigns: whole or absent, bound, resumed, superseded, never changed under the raters."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.contracts.errors import InputError, LookalikeError
from components.human_eval.campaign import (
    NoCampaignError,
    binding_id,
    campaign_ids,
    campaign_of,
    matching,
    open_campaign,
    passed_as_candidate,
)
from components.human_eval.history import Judgement, encode
from components.human_eval.pairs import Binding
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import Record
from components.human_eval.ratings import Rating
from components.registry import campaigns

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


def rate(campaign):
    task = campaign.plan.pairs[0].task_id
    RatingLog(campaign.store, campaign.prefix).append(
        Record.of(Rating(task, "ann", 2, 1.0), campaign=campaign.id, source="web", at=NOW)
    )


def test_it_holds_all_that_raters_need(gate):
    gate.publish(now=NOW)
    campaign = gate.open()
    names = {info.key.removeprefix(campaign.prefix).split("/")[0]
             for info in gate.store.list(campaign.prefix)}  # fmt: skip
    assert names == {
        "plan.json", "campaign.json", "tasks.jsonl", "images", "assignments.csv", "history.jsonl",
        "label_studio.json", "answers.jsonl", "titles.json",
    }  # fmt: skip
    for pair in campaign.plan.pairs:
        assert campaign.picture(pair.query_image)
        assert campaign.picture(pair.result_image)
    tasks = {pair.task_id for pair in campaign.plan.pairs}
    lines = gate.store.read(f"{campaign.prefix}assignments.csv")[0].decode().splitlines()[1:]
    assert {line.split(",")[2] for line in lines} == tasks
    studio = json.loads(gate.store.read(f"{campaign.prefix}label_studio.json")[0])
    assert {task["data"]["task_id"] for task in studio} == tasks


def test_the_same_candidate_resumes(gate):
    first = gate.publish(now=NOW)
    second = gate.publish(now=NOW + timedelta(hours=5))
    assert (second.campaign, second.resumed) == (first.campaign, True)
    assert gate.open().created == NOW
    assert gate.open().problems == ()


def test_a_newer_candidate_supersedes_the_running_one_explicitly(gate):
    one = gate.publish("v1", now=NOW)
    with pytest.raises(LookalikeError, match=r"raters are at v1 .* --supersede"):
        gate.publish("v2", now=NOW, supersede=False)
    assert gate.open().plan.version == "v1"
    two = gate.publish("v2", now=NOW)
    assert two.superseded == "v1"
    state = gate.open(one.campaign).state
    assert (state.state, state.superseded_by) == ("superseded", "v2")
    assert gate.open().plan.version == "v2"
    # Going back to the older one finds it as it was left.
    assert gate.publish("v1", now=NOW).campaign == one.campaign
    assert campaigns.read_current(gate.store, "prod")[0].version == "v2"


def test_a_decided_campaign_is_not_superseded(gate):
    one = gate.publish("v1", now=NOW)
    from components.registry.backoff import Backoff

    campaigns.note_look(gate.store, "prod", one.campaign, "pass", at=NOW, backoff=Backoff())
    assert gate.publish("v2", now=NOW).superseded == ""
    assert gate.open(one.campaign).state.status == "pass"


def test_another_incumbent_is_another_campaign(gate):
    one = gate.publish("v1", incumbent=0.9, before="old", now=NOW)
    other = gate.publish("v1", incumbent=0.9, before="new", now=NOW)
    assert one.campaign != other.campaign
    assert gate.open(one.campaign).state.superseded_by == "v1"


def test_a_promoted_candidate_keeps_the_campaign_that_promoted_it(gate):
    from components.registry.backoff import Backoff

    one = gate.publish("v1", now=NOW)
    digest = gate.binding("v1").manifest_digest
    assert passed_as_candidate(gate.store, "prod", digest) == ""
    campaigns.note_look(gate.store, "prod", one.campaign, "pass", at=NOW, backoff=Backoff())
    assert passed_as_candidate(gate.store, "prod", digest) == one.campaign
    assert passed_as_candidate(gate.store, "prod", "0" * 64) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("plan.json", "the sampling plan was changed"),
        ("tasks.jsonl", "what raters see was changed"),
        ("history.jsonl", "the earlier judgements were changed"),
    ],
)
def test_a_changed_file_is_noticed(gate, name, words):
    gate.publish(now=NOW)
    campaign = gate.open()
    data, _ = gate.store.read(campaign.prefix + name)
    said = Judgement("q", "r", "d0", "candidate", None, "", "ann", 3, 1.0, NOW.isoformat())
    changed = {
        "plan.json": data.replace(b"whole", b"d0", 1),
        "tasks.jsonl": data + b"\n",
        "history.jsonl": data + encode([said]),
    }[name]
    gate.store.write(campaign.prefix + name, changed)
    assert words in gate.open().problems[0]


@pytest.mark.parametrize("name", ["plan.json", "campaign.json", "history.jsonl"])
def test_a_truncated_or_missing_file_is_no_campaign(gate, name):
    gate.publish(now=NOW)
    campaign = gate.open()
    data, _ = gate.store.read(campaign.prefix + name)
    gate.store.write(campaign.prefix + name, data[: len(data) // 2] + b"{")
    with pytest.raises(InputError, match=name):
        gate.open(campaign.id)
    gate.store.delete(campaign.prefix + name)
    with pytest.raises((InputError, NoCampaignError)):
        gate.open(campaign.id)


def test_a_policy_that_was_edited_in_the_record_is_noticed(gate):
    gate.publish(now=NOW)
    campaign = gate.open()
    key = f"{campaign.prefix}campaign.json"
    value = json.loads(gate.store.read(key)[0])
    value["policy"]["tau"] = 0.1
    gate.store.write(key, json.dumps(value).encode())
    assert "the policy is not the one that was recorded" in gate.open().problems[0]


def test_thresholds_may_change_before_the_first_rating_and_not_after(gate, policy):
    one = gate.publish(now=NOW)
    two = gate.publish(now=NOW, config=policy(tau=0.4))
    assert one.campaign != two.campaign
    rate(gate.open())
    three = gate.publish(now=NOW, config=policy(tau=0.2))
    assert (three.campaign, three.policy_changed) == (two.campaign, ("tau",))


def test_who_rates_may_change_at_any_time(gate, policy):
    gate.publish(now=NOW)
    rate(gate.open())
    again = gate.publish(now=NOW, config=replace(policy(), panel="careful=6", seats=4))
    assert again.policy_changed == ()


def test_an_image_that_changed_since_it_was_indexed_stops_the_campaign(gate, tiny, tmp_path):
    material = gate.material()
    lines = (material.evaluation / "results" / "candidate.jsonl").read_text()
    first = json.loads(lines.splitlines()[0])
    broken = lines.replace(first["image"], str(tmp_path / "other.png"))
    (tmp_path / "other.png").write_bytes(b"another picture")
    (material.evaluation / "results" / "candidate.jsonl").write_text(broken)
    with pytest.raises(InputError, match="not the one that was indexed"):
        gate.publish(material=material, now=NOW)
    assert campaign_ids(gate.store, "prod") == []


def test_a_publisher_killed_before_the_record_leaves_nothing_to_be_seen(gate, monkeypatch):
    from components.human_eval import publish

    class KilledError(Exception):
        pass

    def dies(self):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(publish.Record, "to_bytes", dies)
        with pytest.raises(KilledError):
            gate.publish(now=NOW)
    with pytest.raises(NoCampaignError):
        campaign_of(gate.store, "prod")
    assert gate.publish(now=NOW + timedelta(hours=1)).resumed is False
    assert gate.open().created == NOW + timedelta(hours=1)


def test_ids_name_exactly_what_is_judged():
    one = Binding("v1", "a" * 64, "", "")
    assert binding_id(one, "1") == binding_id(replace(one, version="renamed"), "1")
    assert binding_id(one, "1") != binding_id(one, "2")
    assert binding_id(one, "1") != binding_id(replace(one, incumbent_digest="b"), "1")


def test_campaigns_are_found_by_version_and_binding(gate):
    one = gate.publish("v1", now=NOW).campaign
    two = gate.publish("v2", now=NOW + timedelta(hours=1)).campaign
    assert campaign_of(gate.store, "prod") == two
    assert campaign_of(gate.store, "prod", "v1") == one
    assert matching(gate.store, "prod", gate.binding("v1"), "1") == [one]
    with pytest.raises(NoCampaignError, match="no campaign is about 'v3'"):
        campaign_of(gate.store, "prod", "v3")
    with pytest.raises(NoCampaignError, match="there is no campaign 'x'"):
        open_campaign(gate.store, "prod", "x")
