"""The whole gate on a tiny shop, through its files."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.contracts.verdict import Verdict
from components.human_eval.judge import look_at
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import record_name

HEAD = "task_id,rater_id,grade,seconds"


def records(gate):
    """What the current campaign's log holds."""
    return [e.record for e in RatingLog(gate.store, gate.open().prefix).read() if e.record]


def as_people(gate, given, campaign):
    """Returns records under people's names, for another campaign."""
    return [
        replace(r, rater_id=r.rater_id.replace("simulated:", "person-"), campaign=campaign.id)
        for r in given
    ]


def check(verdict, name, where="all"):
    return next(c for c in verdict.checks if (c.name, c.slice) == (name, where))


def test_a_good_candidate_passes_and_everything_says_simulated(gate, tmp_path):
    verdict = gate(quality=0.9)
    assert verdict.status == "pass", verdict.summary()
    assert verdict.simulated
    assert any("not taste" in note for note in verdict.notes)
    assert Verdict.from_json(read_json(tmp_path / "output" / "verdict.json")) == verdict
    production = Verdict.from_json(read_json(tmp_path / "output" / "production_verdict.json"))
    assert production.simulated
    assert production.status != "pass"
    assert check(production, "similarity").requirement == "> 0.810"
    rows = (tmp_path / "output" / "ratings.csv").read_text().splitlines()
    assert rows[0] == HEAD
    assert all(row.split(",")[1].startswith("simulated:") for row in rows[1:])
    assert read_json(tmp_path / "output" / "summary.json")["ratings_needed"] == 0
    page = (tmp_path / "report.html").read_text()
    assert "Simulated raters know the taxonomy" in page
    assert "data:image/jpeg;base64," in page
    assert len(page) < 2_000_000
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_sabotaged_candidate_fails_by_quality(gate):
    verdict = gate(quality=0.0)
    assert verdict.status == "fail"
    assert check(verdict, "similarity").status == "fail"
    assert check(verdict, "label_quality").status == "pass"


def test_bad_raters_are_found_and_the_score_is_true(gate, tmp_path):
    verdict = gate(quality=0.6)
    standing = read_json(tmp_path / "output" / "summary.json")["raters"]
    assert standing["simulated:always_similar-01"] == "banned_golds"
    assert standing["simulated:gold_savvy-01"] == "banned_peers"
    assert standing["simulated:careful-01"] == "counted"
    right = total = 0
    answers = tmp_path / "evaluation-v1" / "results" / "candidate.jsonl"
    for line in answers.read_text().splitlines():
        record = json.loads(line)
        right += sum(r["taxon_id"] == record["taxon_id"] for r in record["results"])
        total += len(record["results"])
    assert check(verdict, "similarity").observed == pytest.approx(right / total, abs=0.04)


def test_people_rate_through_the_log(gate, gate_class, tiny, policy, tmp_path):
    # People answer: here a simulated panel's answers to the same plan, under people's names.
    twin = gate_class(tiny, tmp_path / "twin", policy)
    twin()
    waiting = gate(raters="web")
    assert waiting.status == "undecided"
    assert not waiting.simulated
    campaign = gate.open()
    assert campaign.plan == twin.open().plan
    RatingLog(gate.store, campaign.prefix).append_many(as_people(gate, records(twin), campaign))
    verdict = gate(raters="web")
    assert verdict.status == "pass", verdict.summary()
    assert not verdict.simulated


def test_simulated_answers_do_not_count_where_people_rate(gate):
    gate(version="twin")
    given = records(gate)
    gate(raters="web")
    campaign = gate.open()
    RatingLog(gate.store, campaign.prefix).append_many(
        [replace(r, campaign=campaign.id, task_id=campaign.plan.pairs[n].task_id)
         for n, r in enumerate(given[:40])]
    )  # fmt: skip
    verdict = gate(raters="web")
    assert gate.findings.set_aside == {"simulated": 40}
    assert not verdict.simulated


def test_running_again_gives_the_same_verdict_and_asks_nobody(gate):
    first = gate()
    before = records(gate)
    second = gate(now=gate.now + timedelta(hours=30))
    assert second == first
    assert records(gate) == before


def test_a_killed_panel_resumes_where_it_stood(gate):
    whole = gate(version="whole")
    gate.publish("cut", quality=0.9)
    campaign = gate.open()
    # A panel that was killed after 700 answers.
    from components.human_eval.ask import let_simulated_raters_rate

    class KilledError(Exception):
        pass

    def dies(self, given):
        original(self, given[:700])
        raise KilledError

    original = RatingLog.append_many
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RatingLog, "append_many", dies)
        with pytest.raises(KilledError):
            let_simulated_raters_rate(
                campaign, gate.material("cut", 0.9), now=gate.now + timedelta(minutes=1)
            )
    assert len(records(gate)) == 700
    again = gate(version="cut")
    assert again.status == whole.status == "pass"
    assert check(again, "similarity").observed == pytest.approx(
        check(whole, "similarity").observed, abs=0.02
    )


def test_an_equal_incumbent_and_a_better_one(gate):
    equal = gate(quality=0.9, incumbent=0.9, version="equal")
    assert check(equal, "non_inferiority").status == "pass"
    worse = gate(quality=0.55, incumbent=1.0, version="worse")
    assert check(worse, "non_inferiority").status == "fail"
    assert worse.status == "fail"


def test_an_incumbent_without_answers_is_not_passed_over(gate, tiny, tmp_path):
    from components.human_eval.ask import Material

    bare = Material(tiny.evaluation(tmp_path / "bare", 0.9), tiny.root / "checked")
    verdict = gate(incumbent=0.9, material=bare)
    assert verdict.status == "undecided"
    assert {c.name for c in verdict.failures} == {"non_inferiority"}
    assert (
        "answers of the incumbent to the same queries are missing"
        in check(verdict, "non_inferiority").reason
    )


def test_thresholds_shopped_for_after_rating_are_refused(gate, policy):
    assert gate(quality=0.45, config=policy(tau=0.6)).status != "pass"
    verdict = gate(quality=0.45, config=policy(tau=0.2, floor=0.1))
    assert verdict.status == "fail"
    assert "after the first rating (floor, tau)" in check(verdict, "campaign").reason


def test_unknown_raters_are_refused(gate):
    with pytest.raises(InputError, match="expected web or simulated"):
        gate(raters="crowd")


def test_few_raters_or_many_bad_ones_never_pass(gate, policy):
    few = gate(version="few", config=policy(panel="careful=4"))
    assert few.status != "pass"
    assert {"raters", "largest_rater_share"} <= {c.name for c in few.failures}
    bad = gate(version="bad", config=policy(panel="careful=5,always_similar=4"))
    assert bad.status == "fail"
    assert check(bad, "raters_banned").status == "fail"
    none = gate(version="none", config=policy(panel="always_similar=9"))
    assert none.status != "pass"


def test_leaked_golds_never_pass(gate, policy):
    verdict = gate(config=policy(panel="careful=7,gold_savvy=4"))
    assert verdict.status == "fail"
    assert check(verdict, "golds_leaked").status == "fail"


def test_raters_who_all_know_the_golds_agree_and_still_do_not_pass(gate, policy):
    verdict = gate(quality=0.5, config=policy(panel="gold_savvy=9"))
    assert check(verdict, "similarity").status == "pass"
    assert check(verdict, "raters_compared").status == "fail"
    assert verdict.status == "fail"


@pytest.fixture(scope="module")
def recorded(tiny, tmp_path_factory, gate_class):
    """A rated campaign: its store, its records, and a way to judge it with others added."""
    from components.human_eval.config import GateConfig
    from components.human_eval.owner_actions import record_action
    from components.registry.local_store import LocalStore

    def policy(**overrides):
        return GateConfig.demo(
            tau=0.5, floor=0.3, first_look_pairs=100, guarded_products=10, **overrides
        )

    gate = gate_class(tiny, tmp_path_factory.mktemp("recorded"), policy)
    published = gate.publish("v", quality=0.7)
    campaign = gate.open(published.campaign)
    from components.human_eval.ask import let_simulated_raters_rate

    later = gate.now + timedelta(minutes=1)
    let_simulated_raters_rate(campaign, gate.material("v", 0.7), now=later)
    record_action(
        gate.store, campaign.prefix, action="ban", subject="eve", by="owner", reason="guesses",
        now=later,
    )  # fmt: skip
    given = records(gate)
    clean = look_at(gate.open(published.campaign), now=later + timedelta(minutes=9))
    assert clean.set_aside == {}

    class Recorded:
        lines = given
        verdict = clean.verdict
        ratings = clean.ratings
        at = later

        def judged(self, spoiled, root):
            """Judges a copy of the campaign that holds these objects besides."""
            import shutil

            if not root.exists():
                shutil.copytree(gate.root / "registry", root)
            shutil.rmtree(root / campaign.prefix / "ratings" / "new", ignore_errors=True)
            store = LocalStore(root)
            for key, data in spoiled.items():
                store.write(f"{campaign.prefix}ratings/new/{key}.json", data)
            from components.human_eval.campaign import open_campaign

            return look_at(
                open_campaign(store, "prod", campaign.id), now=later + timedelta(minutes=9)
            )

    found = Recorded()
    found.gate, found.campaign = gate, campaign
    return found


def test_the_verdict_does_not_hang_on_the_order_of_the_records(recorded, tmp_path):
    from components.registry.local_store import LocalStore

    gate, campaign = recorded.gate, recorded.campaign
    shuffled = random.Random(1).sample(recorded.lines, len(recorded.lines))
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(gate.root / "registry", copy)
    shutil.rmtree(copy / campaign.prefix / "ratings")
    RatingLog(LocalStore(copy), campaign.prefix).append_many(shuffled)
    from components.human_eval.campaign import open_campaign

    again = look_at(
        open_campaign(LocalStore(copy), "prod", campaign.id),
        now=recorded.at + timedelta(minutes=9),
    )
    assert again.verdict.checks == recorded.verdict.checks


def test_the_verdict_is_recomputed_elsewhere_to_six_digits(gate, tmp_path):
    """Only the campaigns' objects are copied; judged days later, at another place."""
    import shutil

    from components.human_eval.campaign import open_campaign
    from components.registry.local_store import LocalStore

    first = gate(quality=0.8)
    copy = tmp_path / "elsewhere"
    shutil.copytree(gate.root / "registry" / "campaigns", copy / "campaigns")
    again = look_at(
        open_campaign(LocalStore(copy), "prod", gate.findings.campaign.id),
        now=datetime.now(UTC) + timedelta(days=40),
    ).verdict
    assert again.status == first.status
    for one, other in zip(again.checks, first.checks, strict=True):
        assert (one.name, one.slice, one.status) == (other.name, other.slice, other.status)
        for name in ("observed", "lower", "upper"):
            mine, theirs = getattr(one, name), getattr(other, name)
            assert mine == theirs or round(mine, 6) == round(theirs, 6)
    assert again.created == first.created


KINDS = (
    "unknown_task", "doubled", "banned", "grade_out_of_range", "other_campaign", "truncated",
    "no_rater", "out_of_clock_order", "after_deadline", "malformed", "simulated_unmarked",
    "bad_time", "seconds_out_of_range",
)  # fmt: skip


def spoil(kind, record, number):
    """Returns the name and the bytes of a record that must not count."""
    value = json.loads(record.to_bytes())
    if kind == "truncated":
        return f"cut-{number}", record.to_bytes()[: 20 + number % 60]
    if kind == "malformed":
        return f"list-{number}", json.dumps([value]).encode()
    changes = {
        "unknown_task": {"task_id": f"unknown-{number}"},
        "doubled": {"grade": "1" if record.grade == 0 else "0"},
        "banned": {"rater_id": "eve", "simulated": False},
        "grade_out_of_range": {"grade": str(4 + number % 90)},
        "other_campaign": {"campaign": "another"},
        "no_rater": {"rater_id": ""},
        "out_of_clock_order": {
            "rater_id": "simulated:careful-77",
            "at": "2020-01-01T00:00:00+00:00",
        },
        "after_deadline": {"rater_id": "simulated:careful-78", "at": "2999-01-01T00:00:00+00:00"},
        "simulated_unmarked": {"simulated": False},
        "bad_time": {"at": "yesterday"},
        "seconds_out_of_range": {"seconds": -1},
    }[kind]
    value |= changes
    # Of the same name as the answer that counts, where it would be its double.
    name = record_name(value["task_id"], value["rater_id"], 0)
    return name, json.dumps(value).encode()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2000)), min_size=1, max_size=30))
def test_bad_records_leave_the_verdict_as_it_is_without_them(recorded, bad):
    spoiled = dict(
        spoil(kind, recorded.lines[number % len(recorded.lines)], number) for kind, number in bad
    )
    found = recorded.judged(spoiled, recorded.gate.root / "spoiled")
    assert found.verdict.checks == recorded.verdict.checks
    assert (
        found.ratings == look_at(recorded.campaign, now=recorded.at + timedelta(minutes=9)).ratings
    )
    assert sum(found.set_aside.values()) == len(spoiled)
