"""The console over a real registry: what it shows, and that it changes channels as it should."""

from __future__ import annotations

import asyncio
import html
import re
import shutil
from pathlib import Path

import httpx
import pytest

from components.contracts.files import write_json
from components.registry import events
from components.registry.registry import Registry
from serving.app import create_app
from serving.console.desk import Desk
from serving.engine import Engine
from serving.identity.config import AccessConfig
from serving.settings import Settings

ADA = "ada-has-this-token-123456"
BOB = "bob-has-this-token-123456"


class Site:
    """A server with its registry, and one browser without scripts."""

    def __init__(self, bundle, root: Path, make_bundle, make_verdict):
        self.root = root
        self.uri = str(root / "registry")
        self.registry = Registry.open(self.uri)
        for version in ("v1", "v2", "v3"):
            made = make_bundle(root / "built", version)
            self.registry.publish_bundle(made)
        self.registry.move("prod", to="v1", who="eve", why="<first> & only")
        self.judge(make_verdict, "v2")
        (root / "tokens").write_text(f"ada operate {ADA}\nbob metrics {BOB}\n")
        engine = Engine()
        engine.swap(bundle)
        access = AccessConfig(token_file=root / "tokens")
        self.app = create_app(engine, Settings(registry=self.uri, channel="prod", access=access))
        self.cookies = httpx.Cookies()
        self.page = ""

    def judge(self, make_verdict, version, incumbent="v1"):
        digest = self.registry.manifest(version)[1]
        for gate in ("offline", "human"):
            self.registry.write_verdict(make_verdict(gate, version, digest, incumbent=incumbent))

    def ask(self, method, path, **options):
        async def once():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://here", cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        answer = asyncio.run(once())
        self.page = answer.text
        assert "Traceback" not in self.page
        return answer

    def get(self, path):
        return self.ask("GET", path)

    def fields(self, action):
        """Returns the hidden fields of the page's form with this action."""
        for form in re.findall("<form.*?</form>", self.page, re.DOTALL):
            if (f'action="{action}"' in form and 'name="step"' in form) or action == "/login":
                found = re.findall(r'type="hidden" name="(\w+)" value="(.*?)"', form)
                return {name: html.unescape(value) for name, value in found}
        raise AssertionError(f"no form {action} in {self.page}")

    def sign_in(self, token=ADA):
        self.get("/login")
        return self.ask("POST", "/login", data={**self.fields("/login"), "token": token})

    def step(self, path, **typed):
        """Fills in the form that the page shows and sends it."""
        return self.ask("POST", path, data={**self.fields(path), **typed})

    def operate(self, kind, *, version="", reason="a good reason", **typed):
        """Goes through all three steps; returns the last answer."""
        path = f"/console/channels/prod/{kind}"
        self.get(path + (f"?version={version}" if version else ""))
        self.step(path, reason=reason)
        return self.step(path, **typed)

    @property
    def state(self):
        return self.registry.channel("prod")


@pytest.fixture(scope="module")
def bundle(module_maker):
    return module_maker.loaded("console")


@pytest.fixture
def site(bundle, tmp_path, make_bundle, make_verdict, monkeypatch):
    monkeypatch.delenv(events.URL_VARIABLE, raising=False)
    made = Site(bundle, tmp_path, make_bundle, make_verdict)
    assert made.sign_in().status_code == 303
    yield made
    made.app.state.service.close()
    made.app.state.console.close()


PAGES = (
    "/console",
    "/console/versions",
    "/console/versions/v2",
    "/console/channels/prod",
    "/console/compare?a=v1&b=v2",
    "/console/channels/prod/promote?version=v2",
    "/console/channels/prod/rollback",
)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_for_operators_and_has_no_script(site, path):
    answer = site.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in answer.text
    assert not re.search(r"<[^>]+ (on\w+|style)=", answer.text)
    site.cookies = httpx.Cookies()
    assert site.get(path).headers["location"].startswith("/login?next=%2Fconsole")
    assert site.sign_in(BOB).status_code == 303
    assert site.get(path).status_code == 403


def test_the_overview_says_what_is_live_since_when_by_whom_and_why(site):
    text = site.get("/console").text
    for words in ("v1", "eve, promoted", "&lt;first&gt; &amp; only", "LIVE on prod", "human pass"):
        assert words in text
    assert "<first>" not in text


def test_a_version_shows_its_verdicts_and_curves(site, make_bundle):
    directory = site.root / "curves"
    made = make_bundle(directory, "v4")
    write_json(
        made / "index" / "curve.json",
        {
            "chosen": 0, "recall_at": 10, "recall_target": 0.95,
            "points": [{"p50_ms": 0.1, "recall": 0.97}, {"p50_ms": 0.3, "recall": 0.99}],
        },
    )  # fmt: skip
    write_json(
        made / "encoder" / "curves.json",
        [{"epoch": n, "loss": 9.0 / n, "train": {"leaf": 0.1 * n}} for n in (1, 2, 3)],
    )
    from dataclasses import replace

    from components.contracts.bundle import list_files, read_manifest, write_manifest

    manifest = read_manifest(made)
    (made / "manifest.json").unlink()
    write_manifest(made, replace(manifest, files=list_files(made)))
    site.registry.publish_bundle(made)
    text = site.get("/console/versions/v4").text
    assert "No gate has judged this version" in text
    for title in ("Recall@10 against median latency", "Training loss", "Share classified right"):
        assert title in text
    judged = site.get("/console/versions/v2").text
    assert "offline pass" in judged
    assert "recall@10 is a pass" in judged


def test_a_promotion_goes_through_three_steps_and_only_the_last_changes_anything(site):
    path = "/console/channels/prod/promote"
    site.get(f"{path}?version=v2")
    review = site.step(path, reason="autumn range")
    assert review.status_code == 200
    assert "prod: v2 would be live; before: v1" in review.text
    assert site.state.live == "v1"
    done = site.step(path)
    assert done.status_code == 303
    entry = site.state.held[0]
    assert (entry.to, entry.who, entry.why, entry.forced) == (
        "v2", "ada (console)", "autumn range", False,
    )  # fmt: skip
    assert len(entry.verdicts) == 2
    page = site.get(done.headers["location"]).text
    assert "<b>Done:</b> ada (console) promoted v2" in page


def test_what_no_gate_has_passed_is_refused_and_nothing_moves(site):
    path = "/console/channels/prod/promote"
    site.get(f"{path}?version=v3")
    refused = site.step(path, reason="please")
    assert refused.status_code == 409
    assert "offline: there is no verdict on this bundle" in refused.text
    # Sending the last step all the same is refused as well.
    forged = {**site.fields(path), "step": "confirm"}
    forged.pop("force")
    assert site.ask("POST", path, data=forged).status_code == 409
    assert site.state.live == "v1"


def test_force_needs_the_channels_name_typed_and_is_recorded(site):
    path = "/console/channels/prod/promote"
    site.get(f"{path}?version=v3")
    site.step(path, reason="we know why")
    review = site.step(path)
    assert "overridden by force: offline: there is no verdict" in review.text
    fields = site.fields(path)
    wrong = site.ask("POST", path, data={**fields, "typed": "prd"})
    assert wrong.status_code == 422
    assert site.state.live == "v1"
    assert site.ask("POST", path, data={**fields, "typed": "prod"}).status_code == 303
    assert (site.state.live, site.state.held[0].forced) == ("v3", True)


def test_a_rollback_brings_back_and_quarantines_and_a_release_ends_that(site):
    site.operate("promote", version="v2")
    assert site.operate("rollback", reason="lamps").status_code == 303
    assert site.state.live == "v1"
    assert site.state.quarantine["v2"].why == "lamps"
    assert site.operate("release", version="v2").status_code == 303
    assert site.state.quarantine == {}


def test_freeze_and_unfreeze(site):
    assert site.operate("freeze", reason="sale").status_code == 303
    assert site.state.frozen.who == "ada (console)"
    refused = site.operate("promote", version="v2")
    assert site.state.live == "v1"
    assert refused.status_code in (200, 409)
    assert site.operate("unfreeze").status_code == 303
    assert site.state.frozen is None


def test_what_somebody_else_did_meanwhile_is_not_undone(site):
    path = "/console/channels/prod/rollback"
    site.operate("promote", version="v2")
    site.get(path)
    site.step(path, reason="lamps")
    late = site.fields(path)
    site.registry.move("prod", to="v3", who="eve", why="faster", forced=True)
    answer = site.ask("POST", path, data=late)
    assert answer.status_code == 409
    assert "expected v2 to be live, but v3 is by now" in html.unescape(answer.text)
    assert site.state.live == "v3"


@pytest.mark.parametrize("reason", ["", "   ", "a\nb", "x" * 2001])
def test_a_reason_is_needed(site, reason):
    path = "/console/channels/prod/freeze"
    site.get(path)
    answer = site.step(path, reason=reason)
    assert answer.status_code == 422
    assert "reason: expected" in answer.text
    assert site.state.frozen is None


def test_a_form_of_another_browser_or_site_changes_nothing(site):
    path = "/console/channels/prod/freeze"
    site.get(path)
    fields = {**site.fields(path), "step": "confirm", "reason": "evil"}
    assert site.ask("POST", path, data={**fields, "form": "0" * 64}).status_code == 403
    evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert site.ask("POST", path, data=fields, headers=evil).status_code == 403
    assert site.sign_in().status_code == 303
    assert site.ask("POST", path, data=fields).status_code == 403
    assert site.state.frozen is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/console/channels/prd", 404),
        ("/console/channels/%2e%2e", 404),
        ("/console/versions/v9", 404),
        ("/console/versions/<script>", 404),
        ("/console/channels/prod/fly", 404),
        ("/console/compare?a=v1&b=v9", 404),
        ("/console/channels/prod?before=1e99", 200),
    ],
)
def test_what_is_not_there_is_told(site, path, status):
    assert site.get(path).status_code == status
    assert "<script>" not in site.page


def test_the_page_works_when_the_registry_is_down(site):
    site.get("/console")
    shutil.move(site.root / "registry", site.root / "away")
    answer = site.get("/console")
    assert answer.status_code == 503
    assert "The registry cannot be read." in answer.text
    assert "there is no registry here" in answer.text
    # What was read before is shown with its age, and nothing can be done.
    assert "What follows was read" in answer.text
    assert "eve, promoted" in answer.text
    assert "Roll back" not in answer.text
    assert site.get("/console/channels/prod").status_code == 503
    shutil.move(site.root / "away", site.root / "registry")
    assert site.get("/console").status_code == 200


def test_a_registry_that_hangs_holds_no_page_up(site, monkeypatch):
    import time

    from serving.console import reading

    monkeypatch.setattr(site.app.state.console, "_desk", Desk(read_seconds=0.1))
    monkeypatch.setattr(reading, "overview", lambda uri: time.sleep(1))
    started = time.monotonic()
    answer = site.get("/console")
    assert "gave no answer in 0.1 s" in answer.text
    assert time.monotonic() - started < 0.9


def test_the_webhook_hears_of_it(site, monkeypatch):
    heard = []
    monkeypatch.setattr(events, "announce", lambda value: heard.append(value) or "")
    site.operate("freeze")
    site.app.state.console._desk._pool.shutdown(wait=True)
    assert [value["event"] for value in heard] == ["lookalike.channel.freeze"]
    assert heard[0]["who"] == "ada (console)"


def test_a_channel_that_cannot_be_read_does_not_hide_the_others(site):
    (site.root / "registry/channels/broken.json").write_text("{")
    text = site.get("/console").text
    assert "expected JSON" in text
    assert "eve, promoted" in text
