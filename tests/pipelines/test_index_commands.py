"""The on-call commands, run through the program's entry point as a person would."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from components.contracts.bundle import list_files
from components.contracts.files import read_json, write_json, write_json_lines
from components.contracts.verdict import Check
from components.registry import events
from components.registry.registry import Registry
from pipelines.cli import index_text as text
from pipelines.cli.index_commands import index
from pipelines.cli.main import main

Make = Callable[..., Any]


@dataclass
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


class Desk:
    """A registry with v1, v2 and v3, all of them judged; v1 and then v2 went live on `prod`."""

    def __init__(
        self,
        root: Path,
        make_bundle: Make,
        make_verdict: Make,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.root, self.uri = root, str(root / "registry")
        self.registry = Registry.open(self.uri)
        self._capsys, self._monkeypatch = capsys, monkeypatch
        for version, before in (("v1", ""), ("v2", "v1"), ("v3", "v2")):
            self.registry.publish_bundle(make_bundle(root / "built", version))
            digest = self.registry.manifest(version)[1]
            for gate in ("offline", "human"):
                self.registry.write_verdict(make_verdict(gate, version, digest, incumbent=before))
        for version in ("v1", "v2"):
            self.registry.move("prod", to=version, who="alice", why=f"run of {version}")

    def run(self, *arguments: str, registry: str | None = None) -> Answer:
        """Runs `lookalike index ...` on the registry."""
        command = ["lookalike", "index", *arguments, "--registry", registry or self.uri]
        self._monkeypatch.setattr(sys, "argv", command)
        code: int | str | None = 0
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code
        captured = self._capsys.readouterr()
        return Answer(int(code or 0), captured.out, captured.err)

    def on_prod(self, *arguments: str) -> Answer:
        """Runs a command on the channel `prod`."""
        return self.run(*arguments, "--channel", "prod")

    @property
    def live(self) -> str:
        return self.registry.channel("prod").live


@pytest.fixture
def desk(
    tmp_path: Path,
    make_bundle: Make,
    make_verdict: Make,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """See `Desk`."""
    monkeypatch.delenv(events.URL_VARIABLE, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return Desk(tmp_path, make_bundle, make_verdict, capsys, monkeypatch)


def test_status_says_what_is_live_and_what_a_rollback_would_do(desk: Desk) -> None:
    answer = desk.run("status")
    assert answer.code == 0
    for words in ("prod: v2", "alice, promoted", "run of v2", "would bring back v1", "frozen"):
        assert words in answer.out
    (channel,) = desk.run("status", "--json").json["channels"]
    assert (channel["live"], channel["rollback_to"], channel["frozen"]) == ("v2", "v1", None)
    assert channel["since"]["why"] == "run of v2"
    assert {line["gate"]: line["status"] for line in channel["verdicts"]} == {
        "offline": "pass",
        "human": "pass",
    }


def test_status_shows_freeze_quarantine_and_what_is_passed_over(desk: Desk) -> None:
    desk.registry.quarantine("prod", "v1", who="bob", why="wrong prices")
    desk.registry.freeze("prod", who="carol", why="sale day")
    answer = desk.run("status")
    assert "YES, by carol" in answer.out
    assert "nothing to go to" in answer.out
    assert "passing over: v1 is quarantined by bob" in answer.out


def test_status_shows_the_healthy_channels_beside_a_broken_one(desk: Desk) -> None:
    desk.registry.store.write("channels/broken.json", b"{")
    answer = desk.run("status")
    assert answer.code == 1
    assert "prod: v2" in answer.out
    assert "PROBLEM: channels/broken.json: expected JSON" in answer.out


def test_status_reports_a_live_bundle_that_is_gone(desk: Desk) -> None:
    desk.registry.store.delete("bundles/v2/manifest.json")
    answer = desk.run("status")
    assert answer.code == 1
    assert "PROBLEM" in answer.out
    assert "there is no version 'v2'" in answer.out


def test_list_marks_what_is_live(desk: Desk) -> None:
    answer = desk.run("list", "--limit", "2")
    assert "LIVE on prod" in answer.out
    assert "1 older: --all shows them" in answer.out
    versions = desk.run("list", "--json").json["versions"]
    assert [row["version"] for row in versions] == ["v3", "v2", "v1"]
    assert versions[1]["states"] == ["LIVE on prod"]


def test_show_gives_lineage_and_reasons(desk: Desk) -> None:
    answer = desk.run("show", "v1")
    for words in ("run: test", "recall_at_10: 0.99", "recall@10 is a pass", "4 of 4 dimensions"):
        assert words in answer.out
    shown = desk.run("show", "v2", "--json").json
    assert shown["live_on"] == ["prod"]
    assert shown["manifest_digest"] == desk.registry.manifest("v2")[1]
    assert shown["verdicts"][0]["checks"][0]["name"] == "recall_at_10"


def test_history_is_newest_first(desk: Desk) -> None:
    assert [move["to"] for move in desk.on_prod("history", "--json").json["moves"]] == ["v2", "v1"]
    answer = desk.on_prod("history", "--limit", "1")
    assert "run of v2" in answer.out
    assert "run of v1" not in answer.out
    assert "1 older" in answer.out


def test_promote_moves_and_tells(desk: Desk) -> None:
    answer = desk.on_prod("promote", "v3", "--reason", "daily run")
    assert answer.code == 0
    assert desk.live == "v3"
    assert "prod: v3 is live; before: v2" in answer.err
    event = json.loads(answer.out)
    assert (event["event"], event["from"], event["to"], event["why"]) == (
        "lookalike.channel.promote",
        "v2",
        "v3",
        "daily run",
    )


def test_promote_refuses_with_reasons(desk: Desk, make_bundle: Make) -> None:
    desk.registry.publish_bundle(make_bundle(desk.root / "built", "v4"))
    answer = desk.on_prod("promote", "v4", "--reason", "daily run")
    assert answer.code == 1
    assert "prod: refused; v2 stays live" in answer.err
    assert "offline: there is no verdict on this bundle" in answer.err
    assert answer.out == ""
    assert desk.live == "v2"
    forced = desk.on_prod("promote", "v4", "--reason", "must", "--force", "--json")
    assert forced.json["move"]["forced"]
    assert "FORCED" in desk.on_prod("history").out
    assert "BY FORCE" in desk.run("status").out


def test_promoting_what_is_live_is_a_no_op_that_says_so(desk: Desk) -> None:
    answer = desk.on_prod("promote", "v2", "--reason", "again")
    assert answer.code == 0
    assert "v2 is live already; nothing was changed" in answer.err
    assert desk.registry.channel("prod").moves == 2


def test_rollback_goes_back_and_quarantines(desk: Desk) -> None:
    answer = desk.on_prod("rollback", "--reason", "sofas answer with lamps")
    assert answer.code == 0
    assert desk.live == "v1"
    assert "v1 is live again" in answer.err
    assert "v2 is quarantined" in answer.err
    assert json.loads(answer.out)["event"] == "lookalike.channel.rollback"
    again = desk.on_prod("rollback", "--reason", "still bad")
    assert again.code == 1
    assert "nothing was live before v1" in again.err
    assert desk.on_prod("release", "v2", "--reason", "fine").code == 0
    assert desk.on_prod("promote", "v2", "--reason", "back").code == 0


def test_freeze_stops_promotion_and_not_rollback(desk: Desk) -> None:
    assert desk.on_prod("freeze", "--reason", "sale").code == 0
    assert desk.on_prod("promote", "v3", "--reason", "x").code == 1
    assert desk.on_prod("freeze", "--reason", "sale").code == 1
    assert desk.on_prod("rollback", "--reason", "bad", "--to", "v1").code == 0
    assert desk.on_prod("unfreeze", "--reason", "over").code == 0
    # v3 was compared with v2, which is no longer live: only a forced promotion takes it now.
    assert desk.on_prod("promote", "v3", "--reason", "x").code == 1
    assert desk.on_prod("promote", "v3", "--reason", "x", "--force").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "v3"),
        ("rollback",),
        ("freeze",),
        ("quarantine", "v3"),
    ],
)
def test_a_dry_run_changes_nothing(desk: Desk, arguments: tuple[str, ...]) -> None:
    before = desk.registry.store.read("channels/prod.json")
    answer = desk.on_prod(*arguments, "--reason", "try", "--dry-run")
    assert answer.code == 0
    assert "would be" in answer.err
    assert answer.out == ""
    assert desk.registry.store.read("channels/prod.json") == before


def test_a_dry_run_fails_where_the_real_one_would(desk: Desk) -> None:
    assert desk.on_prod("unfreeze", "--reason", "try", "--dry-run").code == 1
    assert desk.on_prod("release", "v1", "--reason", "try", "--dry-run").code == 1
    assert desk.on_prod("rollback", "--to", "v3", "--reason", "try", "--dry-run").code == 1


def test_verify_finds_damage(desk: Desk) -> None:
    assert desk.run("verify").code == 0
    size = desk.registry.store.stat("bundles/v2/index/vectors.npy").size
    desk.registry.store.write("bundles/v2/index/vectors.npy", b"y" * size)
    answer = desk.run("verify")
    assert answer.code == 1
    assert "v1: whole" in answer.out
    assert "v2: DAMAGED" in answer.out
    assert "index/vectors.npy: expected SHA-256" in answer.out
    assert desk.run("verify", "v1").code == 0
    assert list(desk.run("verify", "v2", "--json").json["problems"]) == ["v2"]


def test_gc_is_dry_by_default(desk: Desk, make_bundle: Make) -> None:
    desk.registry.publish_bundle(make_bundle(desk.root / "built", "v9"))
    arguments = ("gc", "--keep", "0", "--older-than", "0")
    answer = desk.run(*arguments)
    assert answer.code == 0
    assert "Would remove 2 version(s)" in answer.out
    assert "v1" in answer.out
    assert "in the last moves of prod" in answer.out
    assert desk.registry.versions() == ["v1", "v2", "v3", "v9"]
    desk.run(*arguments, "--yes", "--dry-run")
    assert desk.registry.versions() == ["v1", "v2", "v3", "v9"]
    removed = desk.run(*arguments, "--yes", "--json").json["removed"]
    assert [one["version"] for one in removed] == ["v3", "v9"]
    assert desk.registry.versions() == ["v1", "v2"]


def test_bundles_travel_between_registries(desk: Desk, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    assert desk.run("export", "v1", "--to", other, "--dry-run").code == 0
    assert not Path(other).exists()
    assert desk.run("export", "v1", "--to", other, "--verdicts").code == 0
    answer = desk.run("import", "v2", "--from", desk.uri, registry=other)
    assert answer.code == 0
    copied = Registry.open(other)
    assert copied.versions() == ["v1", "v2"]
    assert copied.manifest("v1") == desk.registry.manifest("v1")
    assert copied.verdicts("v1") == desk.registry.verdicts("v1")
    assert copied.verdicts("v2") == []
    assert "was there already" in desk.run("export", "v1", "--to", other).out


def test_a_damaged_bundle_does_not_travel(desk: Desk, tmp_path: Path) -> None:
    desk.registry.store.write("bundles/v1/items.jsonl", b"x")
    answer = desk.run("export", "v1", "--to", str(tmp_path / "other"))
    assert answer.code == 1
    assert "v1 is not whole" in answer.err


def test_policy_is_shown_and_replaced(desk: Desk, tmp_path: Path) -> None:
    assert "offline, human" in desk.on_prod("policy").out
    file = tmp_path / "policy.json"
    file.write_text('{"schema": 1, "max_churn": 0.1}')
    assert desk.on_prod("policy", "--set", str(file), "--dry-run").code == 0
    assert desk.registry.policy("prod").max_churn == 0.5
    assert desk.on_prod("policy", "--set", str(file)).code == 0
    assert desk.registry.policy("prod").max_churn == 0.1
    file.write_text('{"schema": 1, "max_chum": 0.1}')
    answer = desk.on_prod("policy", "--set", str(file))
    assert answer.code == 2
    assert "unknown field 'max_chum'" in answer.err


# Bad input: one line that says what to do, 2 for usage and 1 for the rest, no traceback.


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "v9"), 2, "there is no version 'v9'; `lookalike index list`"),
        (("promote", "v9", "--channel", "prod", "--reason", "x"), 2, "there is no version 'v9'"),
        (("verify", "v9"), 2, "there is no version 'v9'"),
        (("diff", "v1", "v9"), 2, "there is no version 'v9'"),
        (("show", "../v1"), 2, "expected letters, digits, dots"),
        (("show", "a b"), 2, "expected letters, digits, dots"),
        (("show", "a\nb"), 2, "expected letters, digits, dots"),
        (("status", "--channel", "no/pe"), 2, "expected letters, digits and hyphens"),
        (("status", "--channel", "nope"), 2, "there is no channel 'nope'; there are: prod"),
        (("rollback", "--channel", "nope", "--reason", "x"), 2, "there is no channel 'nope'"),
        (("rollback", "--channel", "prod", "--reason", " "), 2, "--reason: expected some words"),
        (("promote", "v3", "--channel", "prod", "--reason", ""), 2, "--reason: expected some"),
        (("freeze", "--channel", "prod", "--reason", "a\x1bb"), 2, "control character"),
        (("rollback", "--channel", "prod", "--reason", "x", "--to", "v3"), 1, "never live here"),
        (("promote", "v3", "--channel", "x" * 64, "--reason", "x"), 2, "letters, digits"),
        (("export", "v1", "--to", "s3://x"), 2, "the scheme 's3' is not known"),
    ],
)
def test_bad_input_is_one_line(
    desk: Desk, arguments: tuple[str, ...], code: int, message: str
) -> None:
    answer = desk.run(*arguments)
    assert answer.code == code
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not JSON", "expected JSON, received something else"),
        (b'{"schema": 99}', "a newer lookalike may have written it"),
    ],
)
def test_an_unreadable_channel_is_one_line(desk: Desk, content: bytes, message: str) -> None:
    desk.registry.store.write("channels/prod.json", content)
    for arguments in (("rollback", "--reason", "x"), ("promote", "v3", "--reason", "x")):
        answer = desk.on_prod(*arguments)
        assert answer.code == 1
        assert message in answer.err
        assert answer.err.count("\n") == 1


def test_a_registry_that_is_missing_empty_or_a_file(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name, code, message in (
        ("missing", 1, "there is no registry here, or it is empty"),
        ("empty", 1, "there is no registry here, or it is empty"),
        ("file", 2, "expected a directory, found a file"),
    ):
        for command in (("status",), ("list",), ("gc",), ("show", "v1")):
            answer = desk.run(*command, registry=str(tmp_path / name))
            assert (answer.code, answer.out) == (code, "")
            assert message in answer.err
            assert answer.err.count("\n") == 1


def test_a_registry_without_permission_is_one_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
        if self.name == "prod.json":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    answer = desk.on_prod("rollback", "--reason", "x")
    assert answer.code == 1
    assert "no permission for channels/prod.json" in answer.err
    assert answer.err.count("\n") == 1


def test_missing_options_are_usage_errors(desk: Desk) -> None:
    assert desk.run("rollback", "--reason", "x").code == 2
    assert desk.on_prod("rollback").code == 2
    assert desk.run("no-such-command").code == 2


# Hooks


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Any]]:
    """A webhook that fails once and then takes events; yields what it took."""
    taken: list[Any] = []
    statuses = [503, 200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = statuses.pop(0) if statuses else 200
            if status == 200:
                taken.append((self.headers, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "hook-key").write_text("a secret key\n")
    monkeypatch.setenv(events.URL_VARIABLE, f"http://127.0.0.1:{server.server_port}/in?token=t")
    monkeypatch.setenv(events.KEY_VARIABLE, str(tmp_path / "hook-key"))
    yield taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_the_signed_event(
    desk: Desk, hook: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fixtures' order: the desk removes the address, the hook sets it.
    answer = desk.on_prod("rollback", "--reason", "bad")
    assert answer.code == 0
    ((headers, body),) = hook
    assert json.loads(body) == json.loads(answer.out)
    assert headers[events.SIGNATURE_HEADER] == events.sign(
        b"a secret key", headers[events.TIME_HEADER], body
    )
    assert "warning" not in answer.err


def test_a_dead_webhook_fails_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(events.URL_VARIABLE, "http://127.0.0.1:9/secret-path")
    answer = desk.on_prod("rollback", "--reason", "bad")
    assert answer.code == 0
    assert desk.live == "v1"
    assert "warning: webhook: 127.0.0.1 was not told" in answer.err
    assert "secret-path" not in answer.err


def test_a_hook_that_hangs_holds_nobody_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv(events.URL_VARIABLE, f"http://127.0.0.1:{port}/")
        answer = desk.on_prod("rollback", "--reason", "bad")
    assert answer.code == 0
    assert desk.live == "v1"
    assert "still trying in the background" in answer.err
    (process,) = events._left_behind
    process.kill()
    process.communicate()
    events._left_behind.clear()


@pytest.mark.parametrize("url", ["not a url", "ftp://x/y", "file:///etc/passwd"])
def test_a_wrong_webhook_fails_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv(events.URL_VARIABLE, url)
    answer = desk.on_prod("freeze", "--reason", "sale")
    assert answer.code == 0
    assert "warning: webhook" in answer.err


# The commands as such


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["index", "ro"], ["rollback"]),
        (["index", "rollback", "--re"], ["--registry", "--reason"]),
        (["index", "show", ""], ["v3", "v2", "v1"]),
        (["index", "rollback", "--to", "v1"], ["v1"]),
        (["index", "status", "--channel", "p"], ["prod"]),
    ],
)
def test_bash_completes_commands_options_versions_and_channels(
    desk: Desk, words: list[str], offered: list[str]
) -> None:
    line = " ".join(shlex.quote(word) for word in ["lookalike", *words])
    script = (
        'eval "$(_LOOKALIKE_COMPLETE=bash_source lookalike)"; '
        f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; COMPREPLY=(); "
        "_lookalike_completion lookalike; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    completed = subprocess.run(
        ["bash", "-c", script],
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LOOKALIKE_REGISTRY": desk.uri,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.split() == offered


def test_every_command_has_help_with_an_example_and_documented_options() -> None:
    context = click.Context(index)
    for name in index.list_commands(context):
        command = index.get_command(context, name)
        assert command is not None
        assert command.help, name
        assert f"Example: lookalike index {name}" in (command.epilog or ""), name
        for parameter in command.params:
            if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False):
                assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize("columns", [80, 120])
def test_lines_keep_within_the_terminal(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, make_bundle: Make, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    name = "20261122-185147-846c8d2b"
    desk.registry.publish_bundle(make_bundle(desk.root / "built", name))
    desk.registry.move("prod", to=name, who="bob@a-long-host-name", why="x " * 40, forced=True)
    desk.registry.quarantine("prod", "v3", who="bob@a-long-host-name", why="because " * 40)
    for arguments in (
        ("status",),
        ("list",),
        ("history", "--channel", "prod"),
        ("show", "v2"),
        ("diff", "v1", name),
        ("gc",),
    ):
        out = desk.run(*arguments).out
        assert max(map(len, out.splitlines())) <= columns


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (5, "5 s ago"),
        (600, "10 min ago"),
        (3 * 3600, "3 h ago"),
        (12 * 86400, "12 days ago"),
        (-3600, "in the future: check the clocks"),
    ],
)
def test_ages_in_the_unit_that_matters(seconds: float, words: str) -> None:
    assert text.ago(seconds) == words


def test_on_call_commands_load_nothing_heavy(desk: Desk) -> None:
    program = (
        "import sys\n"
        "from pipelines.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit as exit_:\n    assert not exit_.code, exit_.code\n"
        "heavy = {'numpy', 'tensorflow', 'apache_beam', 'kfp', 'scann', 'pandas', 'pyarrow', 'PIL',"
        " 'google.cloud.storage', 'rich', 'requests', 'fastapi'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    for arguments in (
        ("status",),
        ("list",),
        ("diff", "v1", "v2"),
        ("verify",),
        ("history", "--channel", "prod"),
        ("promote", "v3", "--channel", "prod", "--reason", "x"),
        ("rollback", "--channel", "prod", "--reason", "x"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, "index", *arguments, "--registry", desk.uri],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr.splitlines()[-1] == "[]", arguments


def test_shell_completion_offers_the_commands(desk: Desk) -> None:
    from click.shell_completion import BashComplete

    complete = BashComplete(index, {}, "index", "_INDEX_COMPLETE")
    offered = {item.value for item in complete.get_completions([], "r")}
    assert offered == {"rollback", "release"}


def test_a_table_that_is_too_wide_stacks_its_first_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    wide = text.table(("NAME", "A", "B"), [("n" * 30, "1" * 10, "some words here")])
    assert [line.rstrip() for line in click.unstyle(wide).splitlines()] == [
        "NAME",
        "  A           B",
        "n" * 30,
        "  1111111111  some words here",
    ]
    narrow = text.table(("NAME", "A"), [("n", "1")])
    assert click.unstyle(narrow).splitlines() == ["NAME  A", "n     1"]


# What differs between two bundles


@pytest.fixture
def two(desk: Desk, make_bundle: Make) -> Desk:
    """The desk with `a` and `b`, which were asked two golden queries in common."""
    for version, items, answers in (
        ("a", "wxyz", {"q1": ["w", "x", "y", "z"], "q2": ["w", "x"], "only-a": ["w"]}),
        ("b", "xyzv", {"q1": ["v", "x", "y", "z"], "q2": ["w", "x"], "only-b": ["w"]}),
    ):
        built = make_bundle(desk.root / "built", version, items=tuple(items))
        (built / "manifest.json").unlink()
        image = "golden/images/000.png"
        records = [
            {"query_id": name, "kind": "shopper", "image": image if name == "q1" else "",
             "item_ids": ids, "product_ids": ids, "scores": [0.5] * len(ids)}
            for name, ids in answers.items()
        ]  # fmt: skip
        write_json(built / "golden" / "answers.json", {"k": 10, "queries": records})
        (built / "golden" / "images").mkdir()
        Image.new("RGB", (16, 16), "red").save(built / image)
        write_json_lines(
            built / "items.jsonl",
            [{"item_id": item, "image": str(built / image)} for item in items],
        )
        manifest = read_json(desk.root / "built" / "v1" / "manifest.json")
        files = {path: vars(entry) for path, entry in list_files(built).items()}
        changes = {"version": version, "files": files, "parameters": {"epochs": len(answers["q2"])}}
        changes["metrics"] = {"recall_at_10": 0.9 if version == "a" else 0.95}
        write_json(built / "manifest.json", manifest | changes)
        desk.registry.publish_bundle(built)
    return desk


def test_diff_by_hand(two: Desk) -> None:
    found = two.run("diff", "a", "b", "--json").json
    assert found["items"] == {"a": 4, "b": 4, "added": ["v"], "removed": ["w"]}
    # q1 keeps x, y and z of four; q2 keeps both: (3/4 + 1) / 2.
    assert found["overlap_at_10"] == pytest.approx(0.875)
    assert [(query["query_id"], query["overlap"]) for query in found["queries"]] == [
        ("q1", 0.75),
        ("q2", 1.0),
    ]
    assert found["parameters"] == []
    assert found["figures"][0] == {
        "name": "build: recall_at_10",
        "before": [0.9, None, None],
        "after": [0.95, None, None],
    }
    answer = two.run("diff", "a", "b")
    assert "overlap@10 is 88% over 2 shared queries; 1 have the same items" in answer.out
    assert "+0.05" in answer.out
    assert "1 added (v), 1 removed (w)" in answer.out


def test_diff_shows_the_bounds_of_verdicts(two: Desk, make_verdict: Make) -> None:
    check = Check("leaf_hit", "pass", "fine", observed=0.6, lower=0.55, upper=0.65)
    digest = two.registry.manifest("b")[1]
    two.registry.write_verdict(make_verdict("offline", "b", digest, checks=(check,)))
    figures = {row["name"]: row for row in two.run("diff", "a", "b", "--json").json["figures"]}
    assert figures["offline: leaf_hit"]["after"] == [0.6, 0.55, 0.65]
    assert figures["offline: leaf_hit"]["before"] == [None, None, None]
    assert "0.6 [0.55, 0.65]" in two.run("diff", "a", "b").out


def test_diff_page_shows_results_side_by_side(two: Desk) -> None:
    page = two.root / "diff.html"
    assert two.run("diff", "a", "b", "--html", str(page)).code == 0
    html = page.read_text()
    assert "q1: 75% in common" in html
    assert "q2" not in html
    # The query, four results in A and four in B, all with pictures; w and v are framed.
    assert html.count("data:image/jpeg") == 9
    assert html.count('class="bad"') == 1
    assert html.count('class="good"') == 1


def test_diff_of_damaged_bundles_is_one_line(two: Desk) -> None:
    two.registry.store.write("bundles/a/golden/answers.json", b"{")
    answer = two.run("diff", "a", "b")
    assert answer.code == 1
    assert "bundles/a/golden/answers.json: cannot be read" in answer.err
    assert answer.err.count("\n") == 1
