"""What a look leaves on disk, and what people are told to do next."""

from __future__ import annotations

import csv
import json

import pytest

from components.human_eval.output import summary_of, waiting_notes


def test_a_decided_campaign_asks_for_nothing_and_leaves_whole_files(gate):
    verdict = gate(quality=0.95)
    assert verdict.status == "pass"
    assert waiting_notes(gate.findings, "gs://shop/registry") == []
    files = {path.name for path in gate.output.iterdir()}
    assert files == {"verdict.json", "production_verdict.json", "ratings.csv", "summary.json"}
    assert json.loads((gate.output / "verdict.json").read_text())["status"] == "pass"
    with (gate.output / "ratings.csv").open() as source:
        rows = list(csv.DictReader(source))
    summary = json.loads((gate.output / "summary.json").read_text())
    assert summary == json.loads(json.dumps(summary_of(gate.findings)))
    assert len(rows) == summary["ratings"]
    assert summary["rating_hours"] * 3600 == pytest.approx(
        sum(float(row["seconds"]) for row in rows)
    )
    assert gate.report.read_text().startswith("<!doctype html>")


def test_an_undecided_one_names_its_commands_and_three_ratings_a_pair(gate):
    assert gate(raters="web").status == "undecided"
    first, missing, judge, vendor = waiting_notes(gate.findings, "gs://shop/registry")
    campaign = gate.findings.campaign
    target = f"--registry gs://shop/registry --channel prod --campaign {campaign.id}"
    assert first == f"Raters are asked: lookalike rate {target}"
    assert f"At most {3 * len(campaign.plan.live):,} ratings are still needed" in missing
    assert "lookalike eval judge --registry gs://shop/registry --channel prod" in judge
    assert "lookalike eval export" in vendor
    assert summary_of(gate.findings)["state"] == "running"
