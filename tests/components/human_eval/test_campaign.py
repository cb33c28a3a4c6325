"""Campaigns: whole or absent, bound, resumed, superseded, never changed under the raters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.human_eval.answers import read_answers
from components.human_eval.campaign import campaign_id, open_campaign, record_outcome
from components.human_eval.pairs import Binding
from components.human_eval.sampling import draw_plan

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


@pytest.fixture
def opened(tiny, policy, tmp_path):
    calls = []

    def run(version="v1", incumbent="", *, config=None, now=NOW, break_image=False):
        binding = Binding(version, f"{version:0<64}", incumbent, incumbent and f"{incumbent:0<64}")
        config = config or policy()

        def draw():
            calls.append(version)
            path = tiny.answers(tmp_path / "c.jsonl", 0.6)
            answers = read_answers(path, kind="shopper", results=5)
            plan, images = draw_plan(
                binding, candidate=answers, incumbent=None, missing=(), shop=tiny.shop,
                config=config,
            )  # fmt: skip
            if break_image:
                images[next(iter(images))] = str(tmp_path / "c.jsonl")
            return plan, images

        return open_campaign(tmp_path / "campaigns", binding, config, draw, now=now)

    run.calls = calls
    return run


def rate(campaign):
    campaign.ratings.write_text("task_id,rater_id,grade,seconds\n")


def test_it_holds_all_that_raters_need(opened):
    campaign = opened()
    names = {path.name for path in campaign.directory.iterdir()}
    assert names == {
        "plan.json", "campaign.json", "tasks.jsonl", "images", "assignments.csv",
        "label_studio.json",
    }  # fmt: skip
    for pair in campaign.plan.pairs:
        assert (campaign.directory / pair.query_image).stat().st_size > 0
        assert (campaign.directory / pair.result_image).stat().st_size > 0
    tasks = {pair.task_id for pair in campaign.plan.pairs}
    lines = (campaign.directory / "assignments.csv").read_text().splitlines()[1:]
    assert {line.split(",")[2] for line in lines} == tasks
    assert len(read_json(campaign.directory / "label_studio.json")) == len(tasks)


def test_the_same_candidate_resumes(opened):
    first, second = opened(), opened(now=NOW + timedelta(hours=5))
    assert opened.calls == ["v1"]
    assert second.plan == first.plan
    assert second.created == NOW
    assert second.problems == ()


def test_a_newer_candidate_supersedes_the_running_one(opened):
    opened("v1")
    opened("v2")
    assert opened("v1").superseded_by == "v2"
    assert opened("v2").superseded_by == ""


def test_a_decided_campaign_is_not_superseded(opened):
    campaign = opened("v1")
    record_outcome(campaign, "pass", now=NOW)
    opened("v2")
    assert opened("v1").superseded_by == ""


def test_another_incumbent_is_another_campaign(opened):
    one, other = opened("v1", "old"), opened("v1", "new")
    assert one.directory != other.directory
    assert opened("v1", "old").superseded_by == "v1"


def test_a_promoted_candidate_keeps_the_campaign_that_promoted_it(opened):
    first = opened("v1")
    record_outcome(first, "pass", now=NOW)
    assert opened("v1", "v1").directory == first.directory
    assert opened("v2", "v2").directory != first.directory


def test_a_changed_plan_is_noticed(opened):
    campaign = opened()
    path = campaign.directory / "plan.json"
    plan = read_json(path)
    plan["draws"] = plan["draws"][::-1]
    write_json(path, plan)
    assert "plan was changed" in opened().problems[0]


def test_thresholds_may_change_before_the_first_rating_and_not_after(opened, policy):
    campaign = opened()
    assert opened(config=policy(tau=0.4)).problems == ()
    assert opened.calls == ["v1", "v1"]
    rate(campaign)
    problem = opened(config=policy(tau=0.2)).problems[0]
    assert "after the first rating (tau)" in problem
    assert opened.calls == ["v1", "v1"]


def test_who_rates_may_change_at_any_time(opened, policy):
    rate(opened())
    assert opened(config=replace(policy(), panel="careful=6", seats=4)).problems == ()


def test_refused_campaigns_of_thirty_days_are_counted(opened):
    for version, status, days in (("a", "fail", 31), ("b", "fail", 29), ("c", "expired", 1),
                                  ("d", "pass", 1)):  # fmt: skip
        record_outcome(opened(version), status, now=NOW - timedelta(days=days))
    assert opened("e").refused == 2


def test_an_image_that_changed_since_it_was_indexed_stops_the_campaign(opened, tmp_path):
    with pytest.raises(InputError, match="not the one that was indexed"):
        opened(break_image=True)
    assert not list((tmp_path / "campaigns").glob("[!.]*"))
    # The killed attempt is in nobody's way.
    assert opened().problems == ()


def test_ids_name_exactly_what_is_judged():
    one = Binding("v1", "a" * 64, "", "")
    assert campaign_id(one, "1") == campaign_id(replace(one, version="renamed"), "1")
    assert campaign_id(one, "1") != campaign_id(one, "2")
    assert campaign_id(one, "1") != campaign_id(replace(one, incumbent_digest="b"), "1")
