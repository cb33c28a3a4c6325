"""`lookalike eval`, run through the program's entry point as a person would."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from components.human_eval.rating_log import RatingLog
from components.registry.campaigns import read_current
from pipelines.cli.eval_commands import eval_
from pipelines.cli.main import main

_CONFTEST = Path(__file__).parents[1] / "components" / "human_eval" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("human_eval_shop", _CONFTEST)
_SHOP = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _SHOP
_SPEC.loader.exec_module(_SHOP)
tiny, policy, Gate = _SHOP.tiny, _SHOP.policy, _SHOP.Gate

DEMO = ("--policy", "demo", "--tau", "0.5", "--floor", "0.3")


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Desk:
    """A registry with two bundles; `v1` is live on `prod`."""

    def __init__(self, tiny, root, policy, make_bundle, capsys, monkeypatch):
        self.gate = Gate(tiny, root, policy)
        self.root, self.uri = root, str(root / "registry")
        self.capsys, self.monkeypatch = capsys, monkeypatch
        self.registry = self.gate.registry
        for version in ("v1", "v2", "v3"):
            self.registry.publish_bundle(make_bundle(root / "built", version))
        self.registry.move("prod", to="v1", who="tests", why="first")

    def __call__(self, *arguments, channel="prod"):
        target = ["--registry", self.uri, *(["--channel", channel] if channel else [])]
        words = ["lookalike", "eval", arguments[0], *target, *map(str, arguments[1:])]
        self.monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main()
        told = self.capsys.readouterr()
        return Answer(int(stop.value.code or 0), told.out, told.err)

    def plan(self, version="v2", quality=0.9, *more, raters="web"):
        material = self.gate.material(version, quality, 0.9)
        return self(
            "plan", "--version", version, "--evaluation", material.evaluation, "--checked",
            material.checked, *DEMO, "--raters", raters, "--output", self.root / "drawn" / version,
            *more,
        )  # fmt: skip

    def publish(self, version="v2", *more):
        return self("publish", self.root / "drawn" / version, *more)

    def people_rate(self, like=0.9):
        """Lets people say what a simulated panel would; through the log."""
        from components.human_eval.ask import Truth
        from components.human_eval.rating_records import Record
        from components.human_eval.simulated import run_panel

        campaign = self.gate.open()
        material = self.gate.material(campaign.plan.version, like, 0.9)
        shop = material.shop()
        truth = Truth.of(shop.items, material.photos(), shop.taxonomy)
        config = replace(campaign.config, panel="careful=9")
        said = run_panel(campaign.plan, truth, config, (), campaign.history)
        people = [replace(r, rater_id=r.rater_id.replace("simulated:", "p-")) for r in said]
        RatingLog(campaign.store, campaign.prefix).append_many(
            [Record.of(r, campaign=campaign.id, source="web", at=datetime.now(UTC))
             for r in people]
        )  # fmt: skip
        return people


@pytest.fixture
def desk(tiny, tmp_path, policy, make_bundle, capsys, monkeypatch):
    return Desk(tiny, tmp_path, policy, make_bundle, capsys, monkeypatch)


def test_from_plan_to_verdict(desk, tmp_path):
    drawn = desk.plan()
    assert drawn.code == 0, drawn.err
    assert "nobody is asked yet" in drawn.out
    assert "candidate  v2 against v1" in drawn.out
    assert "0 ratings (0%) by earlier judgements" in drawn.out
    assert "lookalike eval publish" in drawn.out
    assert read_current(desk.gate.store, "prod")[0].campaign == ""

    published = desk.publish()
    assert published.code == 0, published.err
    assert "lookalike rate" in published.out

    early = desk("status")
    assert early.code == 0
    assert "v2 undecided (raters are at it)" in early.out
    assert "lookalike eval judge" in early.out
    waiting = desk("judge")
    assert waiting.code == 0
    assert "UNDECIDED: v2" in waiting.out
    assert "lookalike rate --registry" in waiting.out

    desk.people_rate()
    seen = desk("status", "--json").json["campaigns"][0]
    assert (seen["status"], seen["state"]) == ("pass", "running")
    dry = desk("judge", "--dry-run", "--json")
    assert dry.json["verdict"]["status"] == "pass"
    assert desk.gate.open().state.state == "running"

    judged = desk("judge", "--output", tmp_path / "judgement")
    assert judged.code == 0
    assert "PASS: v2" in judged.out
    assert desk.gate.open().state.state == "decided"
    assert (tmp_path / "judgement" / "report.html").stat().st_size > 1000
    assert desk.registry.verdicts("v2")[-1].status == "pass"
    again = desk("judge", "--json").json["verdict"]
    assert again["checks"] == dry.json["verdict"]["checks"]

    listed = desk("status", "--all", "--json").json["campaigns"]
    assert [(row["version"], row["status"]) for row in listed] == [("v2", "pass")]
    assert "v2" in desk("status", "--all").out


def test_a_failed_candidate_ends_with_code_3(desk):
    desk.plan("v2", 0.1)
    desk.publish()
    desk.people_rate(0.1)
    judged = desk("judge")
    assert judged.code == 3
    assert "FAIL: v2" in judged.out
    assert "must not go live" in judged.out


def test_the_second_plan_says_what_it_saves(desk):
    desk.plan()
    desk.publish()
    desk.people_rate()
    desk("judge")
    drawn = desk.plan("v3", 0.9, "--json").json
    assert drawn["pairs_cached"] > 0.8 * drawn["pairs"]
    assert drawn["ratings_saved"] == 3 * drawn["pairs_cached"]


def test_one_campaign_runs_and_superseding_is_said(desk):
    desk.plan("v2")
    desk.publish("v2")
    desk.plan("v3", 0.8)
    refused = desk.publish("v3")
    assert refused.code == 1
    assert "raters are at v2" in refused.err
    assert "--supersede" in refused.err
    allowed = desk.publish("v3", "--supersede")
    assert allowed.code == 0
    assert "Closed: the campaign about v2." in allowed.out
    old = desk("judge", "--version", "v2")
    assert old.code == 3
    assert "superseded by the newer candidate v3" in old.out


def test_expire_closes_and_keeps_what_was_said(desk):
    desk.plan()
    desk.publish()
    desk.people_rate()
    closed = desk("expire", "--reason", "wrong catalog", "--json")
    assert closed.code == 0
    assert closed.json["state"] == "expired"
    assert "wrong catalog" in closed.json["why"]
    assert "Nothing changed" in desk("expire", "--reason", "again").out
    assert desk("judge").code == 3
    assert desk.plan("v3", 0.9, "--json").json["pairs_cached"] > 0


def test_a_vendor_rates_through_files(desk, tmp_path):
    desk.plan()
    desk.publish()
    tasks = tmp_path / "tasks.csv"
    assert desk("export", tasks).code == 0
    assert tasks.read_text().splitlines()[0] == "task_id,query_image,result_image"
    assert desk("export", tmp_path / "tasks.json", "--images", "https://b.example/c").code == 0
    first = json.loads((tmp_path / "tasks.json").read_text())[0]["data"]
    assert first["query_image"].startswith("https://b.example/c/images/")
    assert desk("export", tmp_path / "i.xml", "--what", "interface").code == 0
    assert "<Choices" in (tmp_path / "i.xml").read_text()

    known = first["task_id"]
    sent = tmp_path / "ratings.csv"
    sent.write_text(
        "task_id,rater_id,grade,seconds\n"
        f"{known},ann,3,2.5\n{known},ann,0,2.5\nnobody,ann,3,1\n{known},bob,9,1\n{known},eve\n"
    )
    told = desk("import", sent, "--json")
    assert told.code == 0, told.err
    assert told.json["added"] == 1
    assert told.json["set_aside"] == {
        "doubled": 1, "grade_out_of_range": 1, "truncated": 1, "unknown_task": 1,
    }  # fmt: skip
    assert desk("import", sent, "--json").json["added"] == 0
    assert desk("export", tmp_path / "back.csv", "--what", "ratings").code == 0
    assert (
        tmp_path / "back.csv"
    ).read_text() == f"task_id,rater_id,grade,seconds\n{known},ann,3,2.50\n"


def test_mistakes_are_told_in_one_message(desk, tmp_path):
    for arguments, words in (
        (("judge",), "no campaign was ever published"),
        (("judge", "--campaign", "x"), "there is no campaign 'x'"),
        (("publish", tmp_path), "draft.json"),
        (("plan", "--version", "v2", "--output", tmp_path / "o"), "expected --workspace"),
        (("plan", "--version", "v9", "--workspace", tmp_path, "--output", tmp_path / "o"), "v9"),
    ):
        told = desk(*arguments)
        assert told.code in (1, 2), arguments
        assert words in told.err
        assert "Traceback" not in told.err


def test_a_draft_for_another_bundle_is_not_published(desk, make_bundle):
    desk.plan("v3")
    manifest = desk.gate.store.root / "bundles" / "v3" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"run": "test"', '"run": "best"'))
    told = desk.publish("v3")
    assert told.code == 2
    assert "the plan is about another bundle v3" in told.err


def test_a_campaign_whose_incumbent_changed_has_expired(desk):
    desk.plan("v2")
    desk.publish("v2")
    desk.people_rate()
    desk.registry.move("prod", to="v3", who="tests", why="meanwhile", forced=True)
    told = desk("judge")
    assert told.code == 3
    assert "v3 is live now, but v2 is compared with v1" in " ".join(told.out.split())


def test_every_command_has_help_with_an_example_and_documented_options():
    context = click.Context(eval_)
    for name in eval_.list_commands(context):
        command = eval_.get_command(context, name)
        assert f"Example: lookalike eval {name}" in (command.epilog or ""), name
        assert command.help
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help or name == "plan", (name, option.name)
