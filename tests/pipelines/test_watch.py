from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.local.step_cache import StepResult
from pipelines.local.watch import LiveTable, PlainLines, describe, duration

STATE = {
    "phase": "train", "done": 250, "total": 1000, "unit": "images", "rate": 50.0,
    "rejects": 2, "note": "loss 3.1",
}  # fmt: skip


def result(step: str, *, cached: bool) -> StepResult:
    return StepResult(step, "k", "i", {}, {"report": Path("r")}, {}, 12.0, cached)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (9.96, "10 s"), (99, "99 s"), (187, "3:07")]
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_progress_says_what_matters_first():
    assert describe(STATE) == "25%, 15 s left, 250/1000 images, 50/s, 2 rejects, loss 3.1"


def test_progress_without_a_total_has_no_share():
    assert describe({"phase": "x", "done": 3, "unit": "rows"}) == "3 rows"


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_shows_every_step_on_one_line(width):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    with LiveTable(["catalog", "train", "embed"], console) as table:
        table.finished(result("catalog", cached=True))
        table.started("train")
        table.progressed("train", STATE)
        time.sleep(0.3)
    lines = screen.getvalue().splitlines()
    catalog, train, embed = (
        [line for line in lines if step in line][-1] for step in ("catalog", "train", "embed")
    )

    assert "✓ cached" in catalog
    assert "▶ running" in train
    assert "25%, 15 s left" in train
    assert "━" in train
    assert "· waiting" in embed


def test_the_table_says_why_a_step_is_tried_again():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    with LiveTable(["train"], console) as table:
        table.started("train")
        table.retrying("train", "train: the [registry] does not answer", 60)

    assert "train: the [registry] does not answer" in screen.getvalue()
    assert "↻ tried again" in screen.getvalue()


def test_plain_lines_say_each_event(capsys):
    lines = PlainLines()
    lines.started("train")
    lines.progressed("train", STATE)
    lines.finished(result("train", cached=False))
    lines.retrying("embed", "embed: the registry does not answer", 60)
    lines.failed("embed", "no")

    assert capsys.readouterr().err.splitlines() == [
        "train: started", "train: done in 12 s", "embed: the registry does not answer",
        "embed: tried again in 60 s (Ctrl-C to stop)", "embed: failed",
    ]  # fmt: skip
