"""The steps after the gates, as the pipeline calls them."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from components.contracts.errors import LookalikeError
from components.outcome.step import gates, hold_back, notify
from components.registry import events
from components.registry.registry import Registry


@pytest.fixture
def registry(tmp_path, make_bundle, make_verdict):
    registry = Registry.open(str(tmp_path / "registry"))
    registry.publish_bundle(make_bundle(tmp_path / "built", "v1"))
    registry.move("shop", to="v1", who="tests", why="first")
    registry.write_verdict(make_verdict("offline", "v2", "d" * 64, status="fail"))
    return registry


@pytest.fixture
def hook(monkeypatch, tmp_path):
    """A webhook that keeps what it is told, with a key."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    ).start()
    (tmp_path / "key").write_text("a key\n")
    monkeypatch.setenv(events.URL_VARIABLE, f"http://127.0.0.1:{server.server_port}/t0ps3cret")
    monkeypatch.setenv(events.KEY_VARIABLE, str(tmp_path / "key"))
    yield came
    server.shutdown()
    server.server_close()


def told(registry, tmp_path, state="SUCCEEDED", error=""):
    note = tmp_path / "note.md"
    notify(registry.uri, "shop", "run-7", "visual-search", "", state, error, str(note))
    return note.read_text()


def test_a_refusal_goes_from_the_gates_to_the_hook(registry, tmp_path, hook):
    note = tmp_path / "gates.md"
    said = gates(registry.uri, "v2", "v1", "fail", "undecided", "run-7", str(note))
    hold_back(registry.uri, "shop", "run-7", str(tmp_path / "why.md"), undecided=False)
    shown = told(registry, tmp_path)

    assert said == "refused"
    assert "recall@10 is a fail" in note.read_text()
    assert "Shoppers still see `v1`" in (tmp_path / "why.md").read_text()
    ((headers, body),) = hook
    event = json.loads(body)
    assert (event["outcome"], event["version"], event["live"]) == ("refused", "v2", "v1")
    assert event["reasons"] == ["offline: recall@10 is a fail"]
    signed = hmac.new(
        b"a key", headers[events.TIME_HEADER].encode() + b"." + body, hashlib.sha256
    ).hexdigest()
    assert headers[events.SIGNATURE_HEADER] == f"sha256={signed}"
    assert "| webhook | told |" in shown
    assert "t0ps3cret" not in shown


def test_a_failed_step_is_told_once_with_its_reason(registry, tmp_path, hook):
    told(registry, tmp_path, state="FAILED", error="train: out of memory")

    ((_, body),) = hook
    assert json.loads(body)["outcome"] == "failed"
    assert json.loads(body)["reasons"] == ["train: out of memory"]


def test_a_dead_hook_fails_nothing_and_its_address_is_not_shown(
    registry, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv(events.URL_VARIABLE, "http://127.0.0.1:9/t0ps3cret")
    monkeypatch.delenv(events.KEY_VARIABLE, raising=False)
    monkeypatch.setattr(events.time, "sleep", lambda _: None)

    shown = told(registry, tmp_path)

    assert "127.0.0.1 was not told" in shown
    assert "t0ps3cret" not in shown + capsys.readouterr().err


def test_a_key_that_cannot_be_read_fails_nothing(registry, tmp_path, hook, monkeypatch):
    monkeypatch.setenv(events.KEY_VARIABLE, str(tmp_path / "gone"))

    assert "| webhook | webhook: FileNotFoundError |" in told(registry, tmp_path)
    assert hook == []


def test_without_a_hook_the_note_says_so(registry, tmp_path, monkeypatch):
    monkeypatch.delenv(events.URL_VARIABLE, raising=False)

    assert "| webhook | none is set |" in told(registry, tmp_path)


def test_a_branch_without_the_gates_record_is_an_error(registry, tmp_path):
    with pytest.raises(LookalikeError, match=r"runs/run-9/gates\.json"):
        hold_back(registry.uri, "shop", "run-9", str(tmp_path / "n.md"), undecided=True)
