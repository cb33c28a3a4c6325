"""The release pipeline, run as a person runs it: the ratings of a candidate arrive after its run.

The candidate is a bundle of a tiny shop, so that nothing is trained; the run's own gate step
publishes its campaign, and every step of `release` runs in a process of its own.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from components.human_eval.simulated import Truth
from components.human_eval.step import run as human_eval
from components.registry.policy import Policy
from pipelines.cli.main import main

_CONFTEST = Path(__file__).parents[1] / "components" / "human_eval" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("human_eval_shop", _CONFTEST)
_SHOP = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _SHOP
_SPEC.loader.exec_module(_SHOP)
tiny, policy, Gate = _SHOP.tiny, _SHOP.policy, _SHOP.Gate

pytestmark = [pytest.mark.end_to_end, pytest.mark.multiprocess]


class Scene:
    """A channel on which `v1` is live, and `v2`, which passed offline and waits for raters."""

    def __init__(self, gate, root, make_bundle, make_verdict, capfd, monkeypatch):
        self.gate, self.root, self.registry = gate, root, gate.registry
        self.capfd, self.monkeypatch = capfd, monkeypatch
        self.target = ("--registry", str(root / "registry"), "--channel", "prod")
        for version in ("v1", "v2"):
            self.registry.publish_bundle(make_bundle(root / "built", version))
        self.registry.move("prod", to="v1", who="tests", why="first")
        self.digest = self.registry.manifest("v2")[1]
        self.registry.write_verdict(make_verdict("offline", "v2", self.digest, incumbent="v1"))

    def ends_undecided(self, *, raters="web", quality=0.9):
        """What the gate step of a visual-search run does: asks, and does not wait."""
        self.material = self.gate.material("v2", quality, 0.9)
        if raters == "simulated":
            # The step lets simulated raters rate at once; here their files come later.
            self.monkeypatch.setattr(
                "components.human_eval.step.let_simulated_raters_rate", lambda *_, **__: None
            )
        folder = self.root / "gate"
        said = human_eval(
            str(self.material.checked), str(self.material.evaluation), str(self.root / "registry"),
            "prod", "v2", self.digest, "v1", "pass", raters,
            str(folder / "judgement"), str(folder / "verdict.md"), str(folder / "report.html"),
            policy="demo", tau=0.5, floor=0.3, after_failed_evaluation="skip", wait_minutes=0.0,
            seed=0,
        )  # fmt: skip
        assert said == "undecided"

    def ratings(self, prefix: str) -> Path:
        """Writes what six raters say who see every pair and never err, as a vendor's file."""
        plan, shop = self.gate.open().plan, self.material.shop()
        truth = Truth.of(shop.items, self.material.photos(), shop.taxonomy)
        golds = {gold.task_id: gold.gold for gold in plan.golds}
        path = self.root / "ratings.csv"
        with path.open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["task_id", "rater_id", "grade", "seconds"])
            for task in plan.rater_view():
                seen = truth.grade(task["query_image"], task["result_image"])
                grade = golds.get(task["task_id"], seen)
                for rater in range(6):
                    lines.writerow([task["task_id"], f"{prefix}{rater}", grade, 4.0])
        return path

    def __call__(self, *arguments):
        """Runs the program; returns its exit code, its JSON and what it says beside it."""
        words = ["lookalike", *map(str, arguments), *self.target, "--json"]
        self.monkeypatch.setattr(sys, "argv", words)
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        told = self.capfd.readouterr()
        return stop.value.code or 0, json.loads(told.out), told.err

    def release(self):
        return self("run", "--pipeline", "release", "--workspace", self.root / "work")

    def ran(self, answer):
        return [step["name"] for step in answer["steps"]]

    @property
    def live(self):
        return self.registry.channel("prod").live


@pytest.fixture
def scene(tiny, tmp_path, policy, make_bundle, make_verdict, capfd, monkeypatch):
    gate = Gate(tiny, tmp_path, policy)
    return Scene(gate, tmp_path, make_bundle, make_verdict, capfd, monkeypatch)


def test_what_people_say_later_promotes_the_candidate(scene):
    scene.ends_undecided()

    # No rating that carries the mark of a simulated rater counts where people were asked.
    code, told, _ = scene("eval", "import", scene.ratings("simulated:"))
    assert (code, told["added"]) == (0, 0)

    code, answer, text = scene.release()
    assert (code, answer["outcome"]) == (3, "undecided")
    assert scene.ran(answer) == ["judge", "gates", "undecided", "notify"]
    assert "go on:      lookalike run --pipeline release" in text
    assert "promote: not taken (Gates passed)" in text
    assert scene.live == "v1"

    code, told, _ = scene("eval", "import", scene.ratings("vendor-"))
    assert code == 0
    assert told["added"] > 100

    code, answer, text = scene.release()
    assert (code, answer["outcome"]) == (0, "promoted")
    assert scene.ran(answer) == ["judge", "gates", "promote", "notify"]
    assert [v["status"] for v in answer["verdicts"]] == ["pass", "pass"]
    assert "PROMOTED: v2 is live on channel prod" in text
    assert scene.live == "v2"
    report = next((scene.root / "work" / "steps" / "promote").glob("*/outputs/report.html"))
    assert "v2" in report.read_text()


def test_a_candidate_that_raters_do_not_like_is_refused(scene):
    scene.ends_undecided(quality=0.1)
    scene("eval", "import", scene.ratings("vendor-"))

    code, answer, text = scene.release()

    assert (code, answer["outcome"]) == (3, "refused")
    assert scene.ran(answer) == ["judge", "gates", "refused", "notify"]
    assert any("human" in reason for reason in answer["reasons"])
    assert "REFUSED: v2 does not go live on channel prod (still live: v1)" in text
    assert scene.live == "v1"


def test_simulated_ratings_stay_marked_and_need_a_policy_that_allows_them(scene):
    scene.ends_undecided(raters="simulated")
    code, told, _ = scene("eval", "import", scene.ratings("simulated:"))
    assert code == 0
    assert told["added"] > 100

    code, answer, _ = scene.release()
    # Both gates pass, but promote reads the channel's policy itself.
    assert (code, answer["outcome"]) == (3, "refused")
    assert scene.ran(answer) == ["judge", "gates", "promote", "notify"], answer["reasons"]
    assert answer["reasons"] == [
        "human: no person judged this (simulated ratings), and the policy wants people"
    ]
    assert scene.live == "v1"

    scene.registry.set_policy("prod", Policy(allow_simulated=True))
    code, answer, _ = scene.release()
    assert (code, answer["outcome"]) == (0, "promoted")
    assert [verdict["simulated"] for verdict in answer["verdicts"]] == [False, True]
    assert scene.live == "v2"
