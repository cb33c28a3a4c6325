"""A campaign in a registry, small enough for tests: pairs, golds and their pictures."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from httpx import Response
from PIL import Image
from starlette.testclient import TestClient

from components.contracts.files import sha256_bytes
from components.human_eval.campaign import (
    ANSWERS_FILE,
    CAMPAIGN_FILE,
    HISTORY_FILE,
    PLAN_FILE,
    TASKS_FILE,
    TITLES_FILE,
    Record,
)
from components.human_eval.config import GateConfig
from components.human_eval.history import History
from components.human_eval.pairs import Binding
from components.human_eval.plan import CANDIDATE, Draw, Pair, Plan
from components.registry.campaigns import Current, campaign_prefix, make_current, read_current
from components.registry.object_store import ObjectStore, open_store
from components.registry.registry import Registry
from serving.rating.app import create_app
from serving.rating.desk import Desk
from serving.rating.front import Desks
from serving.rating.links import RATER, Pass, Secrets
from serving.rating.reception import Reception
from serving.rating.sessions import Sessions

CHANNEL = "demo"
KEYS = Secrets((b"a-secret-that-only-the-tests-have-0123456789",))


@dataclass(frozen=True)
class Made:
    """A campaign that was written to a registry.

    Attributes:
        registry: The registry's URI.
        store: Its store.
        campaign: Its id.
        plan: Its plan.
        config: Its policy.
    """

    registry: str
    store: ObjectStore
    campaign: str
    plan: Plan
    config: GateConfig

    @property
    def prefix(self) -> str:
        return campaign_prefix(CHANNEL, self.campaign)

    def gold(self, task: str) -> int | None:
        return next(pair.gold for pair in self.plan.pairs if pair.task_id == task)


def picture(colour: tuple[int, int, int], name: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, format=name)
    return buffer.getvalue()


def task_of(token: str) -> str:
    """Returns the task in a form's token, which is signed and not secret."""
    text = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["t"]


def write_campaign(
    registry: str,
    *,
    queries: int = 6,
    golds: int = 50,
    campaign: str = "c0ffee",
    created: datetime | None = None,
    pictures: Callable[[int], bytes] | None = None,
    allow_simulated: bool = True,
    raters: str = "simulated",
    history: History = History(),  # noqa: B008
    **overrides: object,
) -> Made:
    """Writes a campaign of `queries` queries with two results each, and golds of either side."""
    store = open_store(registry)
    config = GateConfig.demo(tau=0.5, floor=0.3, **overrides)
    draw_picture = pictures or (lambda n: picture((n * 37 % 256, n * 91 % 256, n * 53 % 256)))
    names = []
    for number in range(12):
        data = draw_picture(number)
        names.append(f"images/{sha256_bytes(data)[:32]}.png")
        prefix = campaign_prefix(CHANNEL, campaign)
        store.write(f"{prefix}{names[-1]}", data)
    pairs: list[Pair] = []

    def pair(number: int, query: str, gold: int | None) -> Pair:
        task = sha256_bytes(f"{campaign}:{number}".encode())[:16]
        images = names[number % 12], names[(number * 5 + 3) % 12]
        source = "" if gold is None else "view" if gold else "far"
        made = Pair(task, query, f"i{number}", *images, "d0", CANDIDATE, gold, source)
        pairs.append(made)
        return made

    draws = []
    for query in range(queries):
        two = [pair(2 * query + slot, f"q{query}", None) for slot in (0, 1)]
        draws.append(Draw(f"q{query}", "d0", "whole", tuple(entry.task_id for entry in two)))
    for number in range(2 * golds):
        pair(10_000 + number, f"g{number}", 3 if number % 2 else 0)
    plan = Plan(
        version="v2", manifest_digest="a" * 64, incumbent="", incumbent_digest="",
        guideline="1", policy_digest=config.digest, seed=1, sampling="census",
        margin=config.margin, churn=None,
        guarded=(), traffic={"d0": 1.0}, products={"d0": 30},
        pairs=tuple(sorted(pairs, key=lambda entry: entry.task_id)), draws=tuple(draws),
        comparisons=(),
    )  # fmt: skip
    binding = Binding("v2", "a" * 64, "", "")
    sealed = {
        PLAN_FILE: json.dumps(plan.to_json(), indent=2).encode(),
        TASKS_FILE: b"",
        HISTORY_FILE: history.encode(),
        ANSWERS_FILE: b"",
    }
    for name, data in sealed.items():
        store.write(f"{prefix}{name}", data)
    record = Record(
        created or datetime.now(UTC) - timedelta(seconds=1),
        binding,
        raters,
        config.to_json(),
        config.digest,
        {name: sha256_bytes(data) for name, data in sealed.items()},
    )
    titles = {entry.task_id: f"Thing <{entry.item_id}>" for entry in pairs}
    store.write(f"{prefix}{TITLES_FILE}", json.dumps(titles).encode())
    store.write(f"{prefix}{CAMPAIGN_FILE}", record.to_bytes())
    _, generation = read_current(store, CHANNEL)
    make_current(store, CHANNEL, Current(campaign, "v2", "a" * 64), generation=generation)
    bundles = Registry.open(registry)
    policy = replace(bundles.policy(CHANNEL), allow_simulated=allow_simulated)
    bundles.set_policy(CHANNEL, policy, replace=True)
    return Made(registry, store, campaign, plan, config)


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does without waiting for the disk: that writes survive a crash is the store's own test."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def make_campaign(tmp_path: Path) -> Callable[..., Made]:
    return lambda **options: write_campaign(str(tmp_path / "registry"), **options)


@pytest.fixture
def made(make_campaign: Callable[..., Made]) -> Made:
    return make_campaign()


def token_for(
    name: str = "ann", *, role: str = RATER, hours: float = 1.0, channel: str = CHANNEL,
    campaign: str = "",
) -> str:  # fmt: skip
    """Returns the token of a personal link."""
    return Pass(role, name, channel, campaign, time.time() + hours * 3600).token(KEYS)


@dataclass
class Served:
    """The application over a campaign, asked without a network.

    Attributes:
        made: The campaign.
        reception: What follows the registry; it follows when `look` is called.
        client: Asks the application; follows no redirects.
    """

    made: Made
    reception: Reception
    client: TestClient

    @property
    def desk(self) -> Desk:
        assert self.reception.desk is not None
        return self.reception.desk

    def sign_in(self, name: str = "ann", **options: object) -> TestClient:
        """Returns another browser that has opened a personal link."""
        browser = TestClient(self.client.app, follow_redirects=False)
        answer = browser.get("/join", params={"key": token_for(name, **options)})
        assert answer.status_code == 303
        return browser

    def qualify(self, name: str = "ann", *, wrong: int = 0) -> TestClient:
        """Returns a browser whose rater has done the practice, `wrong` pairs of it wrongly."""
        browser = self.sign_in(name)
        for number in range(30):
            page = browser.get("/rate")
            gold = self.made.gold(task_of(form_token(page.text)))
            assert gold is not None
            answer(browser, page.text, str(3 - gold if number < wrong else gold))
        self.desk.judge()
        return browser


def form_token(text: str) -> str:
    """Returns the token in a page's form; empty without one."""
    found = re.search(r'name="token" value="([^"]+)"', text)
    return found[1] if found else ""


def answer(browser: TestClient, text: str, grade: str) -> Response:
    """Sends a page's form."""
    return browser.post("/rate", data={"token": form_token(text), "grade": grade})


@pytest.fixture
def serve_campaign() -> Callable[..., Served]:
    """Serves a campaign in this process: `serve_campaign(made)`."""

    def start(made: Made, **options: object) -> Served:
        reception = Reception(made.registry, CHANNEL, KEYS, **options)
        reception.look()
        sessions = Sessions(KEYS, CHANNEL, "http://testserver")
        app = create_app(Desks(reception, sessions))
        return Served(made, reception, TestClient(app, follow_redirects=False))

    return start


@pytest.fixture
def served(made: Made, serve_campaign: Callable[..., Served]) -> Served:
    return serve_campaign(made)
