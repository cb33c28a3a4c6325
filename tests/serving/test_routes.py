"""Batches, filters, withdrawals, canaries and deadlines, over ASGI."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from components.contracts.errors import LookalikeError
from components.contracts.images import BadImageError
from components.registry import query_log, withdrawals
from components.registry.object_store import open_store
from serving.answers import BatchAnswer, SearchAnswer, SimilarAnswer
from serving.app import create_app
from serving.engine import Engine
from serving.query_log import QueryLog
from serving.settings import Settings
from serving.trial import Trial, TrialConfig, share_of
from serving.trial_figures import TrialLimits
from serving.withdrawals import Withdrawn

TOKEN = "a-long-enough-token-0123456789-abcdef"
WHO = {"Authorization": f"Bearer {TOKEN}"}


class Site:
    """The app over a registry's channel, asked over ASGI."""

    def __init__(self, bundle, store=None, trial=None, queries=None, **settings):
        self.engine = Engine()
        engines = [self.engine, *([trial.engine] if trial else [])]
        withdrawn = Withdrawn(store, "demo", engines) if store else None
        self.withdrawn = withdrawn
        self.engine.swap(bundle)
        self.app = create_app(
            self.engine,
            Settings(registry="unused", channel="demo", **settings),
            withdrawn=withdrawn,
            trial=trial,
            queries=queries,
        )

    def ask(self, method, path, **options):
        async def once():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(once())

    def ids(self, path, **options):
        answer = self.ask("GET", path, **options)
        assert answer.status_code == 200, answer.text
        return [result["item_id"] for result in answer.json()["results"]]


@pytest.fixture
def open_site(monkeypatch, maker):
    monkeypatch.setenv("LOOKALIKE_TOKEN", TOKEN)
    sites = []

    first = maker.loaded("v1")

    def make(bundle=None, **options):
        sites.append(Site(bundle or first, **options))
        return sites[-1]

    yield make
    for site in sites:
        site.app.state.service.close()


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "registry"))


def reason(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["reason"]


# Filters


def test_a_department_leaves_its_items_and_says_that_they_are_few(open_site):
    answer = open_site().ask("GET", "/v1/items/red1/similar?department=lamps&k=10").json()
    SimilarAnswer.model_validate(answer, strict=True)
    assert {result["product_id"] for result in answer["results"]} == {"green", "blue", "grey"}
    assert answer["filter"]["taxon_id"] == "lamp"
    assert answer["filter"]["fewer_than_k"] is True
    full = open_site().ask("GET", "/v1/items/red1/similar?department=lamp&k=3").json()
    assert full["filter"]["fewer_than_k"] is False
    assert full["results"] == answer["results"]


def test_a_taxon_and_a_score_filter_photos_too(open_site, maker):
    site = open_site()
    photo = maker.png((200, 60, 60))
    answer = site.ask("POST", "/v1/search?taxon=sofa&min_score=0.9", content=photo).json()
    SearchAnswer.model_validate(answer, strict=True)
    assert {result["taxon_id"] for result in answer["results"]} == {"sofa"}
    assert min(result["score"] for result in answer["results"]) >= 0.9
    assert answer["filter"]["min_score"] == 0.9


def test_without_filters_nothing_is_said_of_them(open_site):
    assert open_site().ask("GET", "/v1/items/red1/similar").json()["filter"] is None


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("department=Chairs", "unknown_taxon"),
        ("taxon=nothing", "unknown_taxon"),
        ("department=lamp&taxon=sofa", "unknown_taxon"),
        ("min_score=2", "bad_parameter"),
        ("min_score=nan", "bad_parameter"),
        (f"department={'x' * 300}", "bad_parameter"),
    ],
)
def test_filters_that_mean_nothing_are_refused(open_site, query, word):
    assert reason(open_site().ask("GET", f"/v1/items/red1/similar?{query}"), 422) == word


# Batches


def test_a_batch_answers_each_item_as_a_single_question_would(open_site):
    site = open_site()
    asked = {"item_ids": ["red1", "nothing", "blue2", "red1"], "k": 3}
    answer = site.ask("POST", "/v1/batch", json=asked)
    assert answer.headers["x-lookalike-bundle"] == "v1"
    content = answer.json()
    BatchAnswer.model_validate(content, strict=True)
    assert [entry["item_id"] for entry in content["answers"]] == asked["item_ids"]
    red = site.ask("GET", "/v1/items/red1/similar?k=3").json()
    first, unknown, _, again = content["answers"]
    assert [one["item_id"] for one in first["results"]] == [
        one["item_id"] for one in red["results"]
    ]
    assert first["results"] == again["results"]
    assert (unknown["results"], unknown["error"]["reason"]) == ([], "unknown_item")
    assert first["error"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"nonsense", 422),
        (b"[]", 422),
        (b'{"item_ids": []}', 422),
        (b'{"item_ids": ["red1"], "k": 0}', 422),
        (b'{"item_ids": ["red1"], "surprise": 1}', 422),
        (b'{"item_ids": [1]}', 422),
        (json.dumps({"item_ids": ["red1"] * 5}).encode(), 422),
        (b'{"item_ids": ["' + b"x" * 2_000_000 + b'"]}', 413),
        (b'{"item_ids": ["\\ud800"]}', 422),
    ],
)
def test_a_batch_that_cannot_be_answered_is_a_problem(open_site, body, status):
    site = open_site(max_batch_items=4)
    reason(site.ask("POST", "/v1/batch", content=body), status)


def test_a_batch_of_unknown_items_has_only_errors(open_site):
    content = open_site().ask("POST", "/v1/batch", json={"item_ids": ["x", "y"]}).json()
    assert [entry["error"]["reason"] for entry in content["answers"]] == ["unknown_item"] * 2


# Withdrawals


def test_a_withdrawn_item_is_gone_from_answers_and_comes_back(open_site, store):
    site = open_site(store=store)
    first = site.ids("/v1/items/red1/similar")[0]
    answer = site.ask("POST", f"/v1/items/{first}:withdraw?why=recalled", headers=WHO)
    assert answer.json() == {"item_id": first, "withdrawn": True, "changed": True, "items": 1}
    assert first not in site.ids("/v1/items/red1/similar")
    assert reason(site.ask("GET", f"/v1/items/{first}/similar"), 410) == "withdrawn"
    assert reason(site.ask("GET", f"/v1/items/{first}"), 410) == "withdrawn"
    batch = site.ask("POST", "/v1/batch", json={"item_ids": [first]}).json()
    assert batch["answers"][0]["error"]["reason"] == "withdrawn"
    again = site.ask("POST", f"/v1/items/{first}:withdraw", headers=WHO).json()
    assert (again["changed"], again["items"]) == (False, 1)
    back = site.ask("POST", f"/v1/items/{first}:restore", headers=WHO).json()
    assert (back["withdrawn"], back["changed"], back["items"]) == (False, True, 0)
    assert site.ids("/v1/items/red1/similar")[0] == first


def test_every_server_follows_and_a_restart_and_a_new_bundle_remember(open_site, store, maker):
    first, second = open_site(store=store), open_site(store=store)
    first.ask("POST", "/v1/items/red2:withdraw", headers=WHO)
    second.withdrawn.look()
    assert second.ask("GET", "/v1/items/red2").status_code == 410
    second.engine.swap(maker.loaded("v2"))
    assert second.ask("GET", "/v1/items/red2").status_code == 410
    third = open_site(store=store)
    third.withdrawn.look()
    assert third.ask("GET", "/v1/items/red2").status_code == 410
    note = withdrawals.read(store, "demo").items["red2"]
    assert note.why == "withdrawn over the API"
    assert note.who


def test_two_at_a_time_lose_neither(store):
    one, other = (Withdrawn(store, "demo", []) for _ in range(2))
    one.change("a", withdraw=True, who="ada", why="x")
    other.change("b", withdraw=True, who="bob", why="y")
    assert set(withdrawals.read(store, "demo").items) == {"a", "b"}


def test_only_who_may_withdraws(open_site, store):
    site = open_site(store=store)
    assert reason(site.ask("POST", "/v1/items/red1:withdraw"), 401) == "not_signed_in"
    bad = {"Authorization": "Bearer wrong"}
    assert reason(site.ask("POST", "/v1/items/red1:withdraw", headers=bad), 401)
    assert site.ask("GET", "/v1/items/red1").status_code == 200


def test_an_item_that_nobody_knows_is_not_withdrawn(open_site, store):
    site = open_site(store=store)
    assert reason(site.ask("POST", "/v1/items/x:withdraw", headers=WHO), 404) == "unknown_item"


def test_without_a_registry_nothing_can_be_withdrawn(open_site):
    answer = open_site().ask("POST", "/v1/items/red1:withdraw", headers=WHO)
    assert reason(answer, 409) == "no_registry"


def test_a_store_that_is_away_is_told_and_the_last_state_stays(open_site, store, monkeypatch):
    site = open_site(store=store)
    site.ask("POST", "/v1/items/red2:withdraw", headers=WHO)

    def away(*_, **__):
        raise LookalikeError("the store is away")

    for name in ("read", "write", "stat"):
        monkeypatch.setattr(type(store), name, away)
    answer = site.ask("POST", "/v1/items/red1:withdraw", headers=WHO)
    assert reason(answer, 503) == "registry_unavailable"
    site.withdrawn.look()
    assert site.ask("GET", "/v1/items/red2").status_code == 410
    assert site.ask("GET", "/readyz").json()["withdrawals_error"] == "the store is away"


def test_a_start_without_the_registry_knows_what_was_withdrawn(store, tmp_path):
    copy = tmp_path / "copy.json"
    Withdrawn(store, "demo", [], copy=copy).change("a", withdraw=True, who="ada", why="x")
    engine = Engine()
    again = Withdrawn(store, "demo", [engine], copy=copy)
    again.start_from_copy()
    assert engine.withdrawn == {"a"}
    # A folder that is not mounted looks like a registry in which nothing was ever withdrawn.
    elsewhere = open_store(str(tmp_path / "not-mounted"))
    again = Withdrawn(elsewhere, "demo", [engine], copy=copy)
    again.start_from_copy()
    again.look()
    assert engine.withdrawn == {"a"}
    assert "withdrawals/demo.json is gone" in again.problem
    copy.write_text("broken")
    Withdrawn(store, "demo", [Engine()], copy=copy).start_from_copy()


# Deadlines and overload


def test_a_deadline_that_has_passed_is_not_worked_for(open_site, maker):
    site = open_site()
    slow = site.engine.current.encode

    def encode(images):
        time.sleep(0.05)
        return slow(images)

    site.engine.current.encode = encode
    photo = maker.png((200, 60, 60))

    async def script():
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            first = asyncio.create_task(client.post("/v1/search", content=photo))
            await asyncio.sleep(0.02)
            late = await client.post(
                "/v1/search", content=photo, headers={"X-Request-Timeout-Ms": "5"}
            )
            return await first, late

    first, late = asyncio.run(script())
    assert first.status_code == 200
    assert reason(late, 503) == "deadline"
    assert late.headers["retry-after"] == "1"


@pytest.mark.parametrize("value", ["0", "-5", "soon", "nan", "inf", ""])
def test_a_deadline_that_is_none_is_refused(open_site, value):
    answer = open_site().ask(
        "GET", "/v1/items/red1/similar", headers={"X-Request-Timeout-Ms": value}
    )
    assert reason(answer, 422) == "bad_parameter"


def test_more_photos_than_fit_are_shed_with_a_time_to_come_back(open_site, maker):
    site = open_site(image_threads=1, image_queue=1, encoder_queue=1, encoder_batch=1)
    fast = site.engine.current.encode
    site.engine.current.encode = lambda images: time.sleep(0.05) or fast(images)
    photo = maker.png((200, 60, 60))

    async def script():
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await asyncio.gather(
                *(client.post("/v1/search", content=photo) for _ in range(12))
            )

    answers = asyncio.run(script())
    shed = [answer for answer in answers if answer.status_code == 503]
    assert len(shed) >= 1
    assert any(answer.status_code == 200 for answer in answers)
    for answer in shed:
        assert reason(answer, 503) == "overloaded"
        assert answer.headers["retry-after"] == "1"


def test_a_late_event_loop_refuses(open_site):
    site = open_site()
    site.app.state.service.shedding.lag.seconds = 5.0
    for path in ("/v1/items/red1/similar", "/v1/items/red1/similar?department=lamp"):
        assert reason(site.ask("GET", path), 503) == "overloaded"
    assert site.ask("GET", "/healthz").status_code == 200


# Shadow and canary


def trial_of(bundle, mode, store=None, share=0.5, **limits):
    engine = Engine()
    engine.swap(bundle)
    config = TrialConfig("next", mode, share, TrialLimits(**limits))
    return Trial(config, engine, store)


def test_a_canary_answers_a_stable_share_of_the_keys(open_site, maker):
    trial = trial_of(maker.loaded("v2"), "canary")
    site = open_site(trial=trial)
    for number in range(40):
        key = f"shopper-{number}"
        for path in ("/v1/items/red1/similar", "/v1/items/red1/similar?department=lamp"):
            answer = site.ask("GET", path, headers={"X-Lookalike-Key": key})
            expected = "v2" if share_of(key) < 0.5 else "v1"
            assert answer.headers["x-lookalike-bundle"] == answer.json()["version"] == expected
    assert 0.3 < sum(share_of(f"shopper-{number}") < 0.5 for number in range(40)) / 40 < 0.7


def test_an_item_that_the_canary_does_not_hold_is_answered_by_the_live_bundle(open_site, maker):
    trial = trial_of(maker.loaded("v2", prefix="other-"), "canary", share=1.0)
    answer = open_site(trial=trial).ask("GET", "/v1/items/red1/similar")
    assert (answer.status_code, answer.json()["version"]) == (200, "v1")
    assert trial.bundle is not None


def test_a_failing_canary_hurts_nobody_and_is_switched_off_everywhere(open_site, maker, store):
    bad = maker.loaded("v2")
    bad.find = lambda *_: 1 / 0
    trial = trial_of(bad, "canary", store, share=1.0, min_answers=5)
    site = open_site(trial=trial)
    for _ in range(6):
        answer = site.ask("GET", "/v1/items/red1/similar")
        assert (answer.status_code, answer.json()["version"]) == (200, "v1")
    assert trial.bundle is None
    detail = site.ask("GET", "/readyz").json()["trial"]
    assert detail["active"] is False
    assert "of its requests failed" in detail["ended"]
    trial._pool.shutdown(wait=True)
    elsewhere = trial_of(bad, "canary", store)
    assert elsewhere.bundle is not None
    elsewhere.look()
    assert elsewhere.bundle is None
    # Another version gets its own chance.
    elsewhere.engine.swap(maker.loaded("v3"))
    elsewhere.look()
    assert elsewhere.bundle is not None


def test_a_canary_that_refuses_photos_which_the_live_bundle_takes_has_failed(open_site, maker):
    bad = maker.loaded("v2")

    def refuse(_):
        raise BadImageError("undecodable_image", "the preprocessing graph cannot decode the image")

    bad.encode = refuse
    trial = trial_of(bad, "canary", share=1.0, min_answers=5)
    site = open_site(trial=trial)
    for _ in range(5):
        answer = site.ask("POST", "/v1/search", content=maker.png((220, 30, 30)))
        assert (answer.status_code, answer.json()["version"]) == (200, "v1")
        # An item that it does not hold says nothing against it.
        assert site.ask("GET", "/v1/items/nobody/similar").status_code == 404
    assert trial.figures.summary().failed == 1.0
    assert trial.bundle is None


def test_a_shadow_is_compared_and_answers_nobody(open_site, maker):
    other = maker.loaded("v2")
    trial = trial_of(other, "shadow", share=1.0)
    site = open_site(trial=trial)
    other.hide({"orange1", "orange2"})

    async def script():
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answers = [
                await client.get("/v1/items/red1/similar?k=5"),
                await client.post("/v1/search?k=6", content=maker.png((220, 30, 30))),
            ]
            while trial.figures.summary().compared < 2:
                await asyncio.sleep(0.01)
            return answers

    answers = asyncio.run(asyncio.wait_for(script(), 10))
    assert {answer.json()["version"] for answer in answers} == {"v1"}
    # Five others, four of which the shadow knows too; six products, of which it knows five.
    expected = (4 / 5 + 5 / 6) / 2
    assert trial.describe()["overlap"] == pytest.approx(expected)


def test_a_batch_takes_part_in_the_trial_as_single_questions_do(open_site, maker):
    other = maker.loaded("v2")
    trial = trial_of(other, "shadow", share=1.0)
    site = open_site(trial=trial)

    async def script():
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.post("/v1/batch", json={"item_ids": ["red1", "x", "red1"]})
            while trial.figures.summary().compared < 2:
                await asyncio.sleep(0.01)
            return answer

    answer = asyncio.run(asyncio.wait_for(script(), 10)).json()
    assert answer["version"] == "v1"
    assert [bool(entry["results"]) for entry in answer["answers"]] == [True, False, True]
    assert trial.describe()["overlap"] == 1.0


def test_a_batch_that_the_canary_fails_is_answered_by_the_live_bundle(open_site, maker):
    bad = maker.loaded("v2")
    bad.find_many = lambda *_: 1 / 0
    trial = trial_of(bad, "canary", share=1.0, min_answers=5)
    answer = open_site(trial=trial).ask("POST", "/v1/batch", json={"item_ids": ["red1"]})
    assert (answer.status_code, answer.json()["version"]) == (200, "v1")


def test_a_batch_is_counted_item_by_item(open_site, store):
    log = QueryLog(store, "prod", share=1.0, seconds=1000)
    site = open_site(queries=log)
    site.ask("POST", "/v1/batch", json={"item_ids": ["red1", "x", "red1", "orange1"]})
    log.close()
    (segment,) = query_log.segments(store, "prod", days=1)
    assert dict(segment.items) == {"red1": 2, "orange1": 1}
