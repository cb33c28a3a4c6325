from __future__ import annotations

from pathlib import Path

import pytest

from components.registry.channel_report import channel_report, version_row
from components.registry.registry import Registry


@pytest.fixture
def registry(tmp_path: Path, make_bundle, make_verdict) -> Registry:
    opened = Registry.open(str(tmp_path / "registry"))
    for version in ("v1", "v2"):
        opened.publish_bundle(make_bundle(tmp_path, version))
    opened.write_verdict(make_verdict("offline", "v2", opened.manifest("v2")[1]))
    opened.move("prod", to="v1", who="ada", why="first")
    opened.move("prod", to="v2", who="bob", why="second")
    return opened


def test_a_report_says_what_is_live_since_when_by_whom_and_why(registry):
    report = channel_report(registry, "prod")
    assert (report["live"], report["moves"], report["rollback_to"]) == ("v2", 2, "v1")
    assert (report["since"]["who"], report["since"]["why"]) == ("bob", "second")
    assert report["bundle"]["items"] == 4
    assert [(line["gate"], line["status"]) for line in report["verdicts"]] == [("offline", "pass")]
    assert (report["frozen"], report["quarantine"], report["problems"]) == (None, {}, [])


def test_a_note_after_the_promotion_does_not_change_since_when(registry):
    registry.freeze("prod", who="eve", why="sale")
    report = channel_report(registry, "prod")
    assert report["since"]["who"] == "bob"
    assert report["frozen"]["why"] == "sale"


def test_what_cannot_be_read_is_a_problem_of_the_report(registry, tmp_path):
    (tmp_path / "registry/bundles/v2/manifest.json").unlink()
    report = channel_report(registry, "prod")
    assert report["live"] == "v2"
    assert "v2" in report["problems"][0]
    (tmp_path / "registry/channels/prod.json").write_text("{")
    assert "expected JSON" in channel_report(registry, "prod")["problems"][0]


def test_a_row_of_the_list_says_where_a_version_is_live_and_what_the_gates_said(registry):
    registry.quarantine("prod", "v1", who="eve", why="prices")
    states = [registry.channel("prod")]
    row = version_row(registry, "v2", 5.0, states)
    assert (row["states"], row["verdicts"]) == (["LIVE on prod"], ["offline pass"])
    assert version_row(registry, "v1", 5.0, states)["states"] == ["quarantined on prod"]
    row = version_row(registry, "v9", 5.0, states)
    assert row["states"] == ["UNREADABLE manifest"]
