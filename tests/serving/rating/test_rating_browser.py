"""Several people rate in headless Chromium, against the real server, which is killed in between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from components.human_eval.rating_log import RatingLog, gather
from serving.rating.links import OWNER
from tests.chromium import CHROMIUM, Browser, Tab

from .conftest import CHANNEL, KEYS, Made, task_of, token_for, write_campaign

# Where to keep the pictures for people to look at; nowhere unless it is set.
PICTURES = os.environ.get("LOOKALIKE_SCREENSHOTS", "")

# A banned rater is refused, and who moves on within seconds does not use what was fetched ahead.
EXPECTED = re.compile("403|preloaded using link preload but not used")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.server,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


class RunningServer:
    """`lookalike rate` as a process."""

    def __init__(self, made: Made, folder: Path) -> None:
        self._made = made
        self._folder = folder
        (folder / "rating.key").write_bytes(KEYS.keys[0])
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        ready = self._folder / "ready.json"
        ready.unlink(missing_ok=True)
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli.main", "rate",
                 "--registry", self._made.registry, "--channel", CHANNEL,
                 "--port", str(self.port), "--key-file", str(self._folder / "rating.key"),
                 "--ready-file", str(ready)],
                stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert self.process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.port = json.loads(ready.read_text())["port"]

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def link(self, name: str, **options: object) -> str:
        return f"{self.address}/join?key={token_for(name, **options)}"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    made = write_campaign(str(tmp_path / "registry"), queries=12)
    running = RunningServer(made, tmp_path)
    running.start()
    yield running
    running.kill()


def shot(tab: Tab, name: str) -> None:
    if PICTURES:
        tab.screenshot(Path(PICTURES) / f"{name}.png")


def gold_of(tab: Tab, made: Made) -> int | None:
    return made.gold(task_of(tab.run("document.querySelector('[name=token]').value")))


def fits(tab: Tab) -> bool:
    return bool(tab.run("document.documentElement.scrollWidth <= innerWidth"))


def practise(tab: Tab, made: Made) -> None:
    for _ in range(30):
        tab.follow(str(gold_of(tab, made)))
        tab.follow("Enter")


def test_people_rate_by_keyboard_and_phone_while_the_server_is_killed(server, tmp_path):
    made = server._made
    with closing(Browser(tmp_path / "profile")) as browser:
        ann = browser.person()
        ann.open(server.link("ann"))
        assert "key=" not in ann.run("location.href")
        shot(ann, "welcome")
        assert ann.run("document.cookie") == ""
        ann.follow("Enter")
        assert "Practice 1 of 30" in ann.text()
        assert ann.run("[...document.images].every(i => i.naturalWidth > 0)")
        shot(ann, "practice")
        wrong = 3 - (gold_of(ann, made) or 0)
        ann.follow(str(wrong))
        assert "Not quite" in ann.text()
        shot(ann, "feedback")
        ann.follow("Enter")
        for _ in range(29):
            ann.follow(str(gold_of(ann, made)))
            ann.follow("Enter")
        assert "0 rated by you" in ann.text()

        ann.follow("2")
        first = task_of(ann.run("document.querySelector('[name=token]').value"))
        ann.follow(" ")
        ann.follow("u")
        assert task_of(ann.run("document.querySelector('[name=token]').value")) == first
        shot(ann, "correction")
        ann.follow("3")
        ann.follow("g")
        assert "Guidelines" in ann.run("document.title")
        assert ann.run("[...document.images].every(i => i.naturalWidth > 0)")
        ann.follow("g")

        bob = browser.person(width=390, height=780, dark=True)
        bob.open(server.link("bob"))
        assert fits(bob)
        bob.open(f"{server.address}/rate")
        assert fits(bob)
        # Everything that is needed is on the screen without scrolling.
        assert bob.run(
            "[...document.querySelectorAll('.grades button, .pair img')].every(e => "
            "{const r = e.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight})"
        )
        shot(bob, "phone_dark")
        practise(bob, made)

        server.kill()
        server.start()
        bob.open(f"{server.address}/rate")
        assert "0 rated by you" in bob.text()
        bob.follow("1")
        ann.follow("0")
        assert "3 rated by you" in ann.text()

        boss = browser.person()
        boss.open(server.link("boss", role=OWNER))
        assert "ann" in boss.text()
        with boss.loading():
            boss.run(
                "(() => {const form = [...document.querySelectorAll('form')].find(f => "
                "f.getAttribute('action') === '/owner/act' && f.elements.subject.value === 'bob');"
                "form.elements.reason.value = 'test'; form.requestSubmit()})()"
            )
        assert "Banned." in boss.text()
        assert "banned by you: test" in boss.text()
        shot(boss, "owner")
        boss.size(390, 780)
        assert fits(boss)
        bob.open(f"{server.address}/rate")
        assert "not taken any more" in bob.text()
        for tab in (ann, bob, boss):
            assert [text for text in tab.complaints(ever=True) if not EXPECTED.search(text)] == []

    found = gather(
        RatingLog(made.store, made.prefix),
        campaign=made.campaign,
        tasks=[pair.task_id for pair in made.plan.pairs],
    )
    by_rater = {name: [r for r in found.valid if r.rater_id == name] for name in ("ann", "bob")}
    assert len(by_rater["ann"]) == 33
    assert len(by_rater["bob"]) == 31
    assert found.counts() == {"corrected": 1}


def test_it_works_without_scripts(server, tmp_path):
    with closing(Browser(tmp_path / "profile")) as browser:
        ann = browser.person()
        ann.command("Emulation.setScriptExecutionDisabled", value=True)
        ann.open(server.link("ann"))
        ann.open(f"{server.address}/rate")
        left, top = ann.run(
            "(() => {const r = document.querySelector('button[value=\"3\"]')"
            ".getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]})()"
        )
        with ann.loading():
            for kind in ("mousePressed", "mouseReleased"):
                ann.command(
                    "Input.dispatchMouseEvent", type=kind, x=left, y=top, button="left",
                    clickCount=1,
                )  # fmt: skip
        assert "Right" in ann.text() or "Not quite" in ann.text()
