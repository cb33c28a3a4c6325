"""The whole gate on a tiny shop, through its files."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.contracts.verdict import Verdict
from components.human_eval.aggregate import aggregate
from components.human_eval.campaign import Campaign
from components.human_eval.judge import evaluate
from components.human_eval.plan import Plan
from components.human_eval.ratings import read_ratings

HEAD = "task_id,rater_id,grade,seconds"


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


def test_without_raters_nothing_passes(gate, tmp_path):
    verdict = gate(raters="none")
    assert verdict.status == "undecided"
    assert "switched off" in verdict.checks[0].reason
    assert not verdict.simulated
    assert not (tmp_path / "campaigns").exists()
    assert "switched off" in (tmp_path / "report.html").read_text()
    assert read_json(tmp_path / "output" / "production_verdict.json")["status"] == "undecided"


def test_people_rate_through_files(gate, tmp_path):
    waiting = gate(raters="web", campaign_uri="gs://shop/campaigns")
    assert waiting.status == "undecided"
    assert not waiting.simulated
    assert any("gs://shop/campaigns/" in note and "ratings.csv" in note for note in waiting.notes)
    # People answer: here the simulated panel's answers under people's names.
    gate(config=None)
    ratings = next((tmp_path / "campaigns").glob("*/ratings.csv"))
    assert gate(raters="web").status == "undecided"
    ratings.write_text(ratings.read_text().replace("simulated:", "person-"))
    verdict = gate(raters="web")
    assert verdict.status == "pass", verdict.summary()
    assert not verdict.simulated


def test_running_again_gives_the_same_verdict_and_asks_nobody(gate, tmp_path):
    first = gate()
    ratings = next((tmp_path / "campaigns").glob("*/ratings.csv"))
    before = ratings.read_bytes()
    second = gate()
    assert second.checks == first.checks
    assert ratings.read_bytes() == before


def test_a_killed_panel_resumes_where_it_stood(gate, tmp_path):
    whole = gate()
    ratings = next((tmp_path / "campaigns").glob("*/ratings.csv"))
    lines = ratings.read_text().splitlines()
    ratings.write_text("\n".join(lines[:700]) + "\n" + lines[700][:9])
    again = gate()
    assert again.status == whole.status
    assert check(again, "similarity").observed == pytest.approx(
        check(whole, "similarity").observed, abs=0.02
    )
    assert any("1 truncated" in note for note in again.notes)


def test_an_equal_incumbent_and_a_better_one(gate):
    equal = gate(quality=0.9, incumbent=0.9, version="equal")
    assert check(equal, "non_inferiority").status == "pass"
    worse = gate(quality=0.55, incumbent=1.0, version="worse")
    assert check(worse, "non_inferiority").status == "fail"
    assert worse.status == "fail"


def test_an_incumbent_without_answers_is_not_passed_over(gate, tiny, tmp_path):
    bare = tiny.evaluation(tmp_path / "bare", 0.9)
    verdict = gate(incumbent=0.9, evaluation=bare)
    assert verdict.status == "undecided"
    assert {c.name for c in verdict.failures} == {"non_inferiority"}
    assert "answers to the same queries are missing" in check(verdict, "non_inferiority").reason


def test_thresholds_shopped_for_after_rating_are_refused(gate, policy):
    assert gate(quality=0.45, config=policy(tau=0.6)).status != "pass"
    verdict = gate(quality=0.45, config=policy(tau=0.2, floor=0.1))
    assert verdict.status == "fail"
    assert "after the first rating (floor, tau)" in check(verdict, "campaign").reason


def test_unknown_raters_are_refused(gate):
    with pytest.raises(InputError, match="expected one of simulated, web, none"):
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
def recorded(tiny, tmp_path_factory):
    """A rated campaign: its plan, the text of its ratings, and its checks."""
    from components.human_eval.config import GateConfig
    from components.human_eval.judge import judge_candidate

    root = tmp_path_factory.mktemp("recorded")
    config = GateConfig.demo(tau=0.5, floor=0.3, first_look_pairs=100, guarded_products=10)
    judge_candidate(
        evaluation=tiny.evaluation(root / "evaluation", 0.7), checked=tiny.root / "checked",
        version="v", manifest_digest="ab" * 32, incumbent="", incumbent_digest="",
        raters="simulated", campaign=root / "campaigns", config=config, output=root / "output",
        report=root / "report.html",
    )  # fmt: skip
    directory = next((root / "campaigns").glob("*/plan.json")).parent
    plan = Plan.from_json(read_json(directory / "plan.json"), source="plan.json")
    now = datetime.now(UTC)
    campaign = Campaign(directory, plan, now, (), "", 0)
    lines = (directory / "ratings.csv").read_text().splitlines()[1:]

    def judged(rows, path):
        path.write_text("\n".join([HEAD, *rows]) + "\n")
        found = read_ratings(
            path, tasks=[p.task_id for p in plan.pairs], banned=["eve"], allow_simulated=True
        )
        labels = aggregate(plan, found.valid, config)
        return evaluate(campaign, labels, config, now=now)[0].checks, found

    judged.clean, found = judged(lines, root / "clean.csv")
    assert found.set_aside == ()
    return lines, judged, root


def test_the_verdict_does_not_hang_on_the_order_of_the_rows(recorded):
    lines, judged, root = recorded
    shuffled = random.Random(1).sample(lines, len(lines))
    assert judged(shuffled, root / "a.csv")[0] == judged.clean


def test_the_verdict_is_recomputed_from_its_files_to_six_digits(recorded):
    _, judged, root = recorded
    stored = Verdict.from_json(read_json(root / "output" / "verdict.json"))
    again = judged((root / "output" / "ratings.csv").read_text().splitlines()[1:], root / "c.csv")
    assert [c.observed for c in again[0]] == pytest.approx(
        [c.observed for c in stored.checks], abs=1e-6
    )
    assert [c.lower for c in again[0]] == pytest.approx([c.lower for c in stored.checks], abs=1e-6)
    assert [c.status for c in again[0]] == [c.status for c in stored.checks]


BAD_ROWS = st.one_of(
    st.builds(lambda n: f"unknown-{n},ann,3,1.0", st.integers(0, 99)),
    st.builds(lambda n: ("double", n), st.integers(0, 10_000)),
    st.builds(lambda n: ("banned", n), st.integers(0, 10_000)),
    st.builds(lambda n, g: ("range", n, g), st.integers(0, 10_000), st.integers(4, 99)),
    st.builds(lambda n, c: ("cut", n, c), st.integers(0, 10_000), st.integers(1, 15)),
    st.builds(lambda n: ("stranger", n), st.integers(0, 10_000)),
)


def spoil(row, lines):
    """Returns a bad row, made of a good one where it needs one."""
    if isinstance(row, str):
        return row
    task, rater, _, seconds = lines[row[1] % len(lines)].split(",")
    return {
        "double": f"{task},{rater},0,{seconds}",
        "banned": f"{task},eve,3,1.0",
        "range": f"{task},newcomer,{row[-1]},1.0",
        "cut": lines[row[1] % len(lines)][: row[-1]],
        "stranger": f"{task},,3,1.0",
    }[row[0]]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(BAD_ROWS, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_bad_records_leave_the_verdict_as_it_is_without_them(recorded, rows, shuffle):
    lines, judged, root = recorded
    clean = judged.clean
    mixed = list(lines)
    for row in rows:
        bad = spoil(row, lines)
        # A doubled answer comes after the first one: that is what makes it the double.
        double = not isinstance(row, str) and row[0] == "double"
        mixed.insert(len(mixed) if double else shuffle.randint(0, len(mixed)), bad)
    spoiled, found = judged(mixed, root / "spoiled.csv")
    assert spoiled == clean
    assert len(found.set_aside) == len(rows)
