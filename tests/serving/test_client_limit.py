from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from serving.app import create_app
from serving.client_limit import Buckets, ClientLimit
from serving.engine import Engine
from serving.fast_path import FastPath
from serving.identity.config import AccessConfig
from serving.settings import Settings


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_burst_passes_and_then_one_in_each_interval():
    clock = Clock()
    buckets = Buckets(rate=2.0, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    # The bucket is empty: two tokens a second come back, so the next one in half a second.
    assert buckets.take("a") == pytest.approx(0.5)
    clock.now += 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") == pytest.approx(0.5)
    # A refusal costs nothing: whoever keeps asking is not kept out for longer.
    clock.now += 0.4
    assert buckets.take("a") == pytest.approx(0.1)


def test_a_bucket_fills_up_to_the_burst_and_no_further():
    clock = Clock()
    buckets = Buckets(rate=10.0, burst=2, clock=clock)
    buckets.take("a")
    clock.now += 3600
    assert [bool(buckets.take("a")) for _ in range(3)] == [False, False, True]


def test_clients_do_not_share_and_no_more_are_remembered_than_fit():
    clock = Clock()
    buckets = Buckets(rate=1.0, burst=1, kept=3, clock=clock)
    for client in "abcd":
        assert buckets.take(client) == 0
    assert len(buckets) == 3
    assert [bool(buckets.take(client)) for client in "bcd"] == [True, True, True]
    # The one that asked the longest ago was forgotten.
    assert buckets.take("a") == 0


@pytest.fixture(scope="module")
def bundle(module_maker):
    return module_maker.loaded("limited")


@pytest.fixture
def start(bundle):
    engine = Engine()
    engine.swap(bundle)
    made = []

    def make(**options):
        settings = Settings(bundle=Path("unused"), client_rate=0.001, client_burst=2, **options)
        made.append(create_app(engine, settings))
        return made[-1]

    yield make
    for app in made:
        app.state.console.close()
        app.state.service.close()


def ask(app, *paths, peer="192.0.2.1", method="GET", **options):
    async def all_of_them():
        transport = httpx.ASGITransport(app, client=(peer, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [await client.request(method, path, **options) for path in paths]

    return asyncio.run(all_of_them())


SIMILAR = "/v1/items/red1/similar"


@pytest.mark.parametrize("path", [SIMILAR, f"{SIMILAR}?department=Seating", "/", "/nowhere"])
def test_the_short_way_the_long_way_and_the_page_are_limited_together(start, path):
    app = start()
    first, second, third = ask(app, path, SIMILAR, path)
    assert 429 not in (first.status_code, second.status_code)
    assert third.status_code == 429
    problem = third.json()
    assert third.headers["Content-Type"] == "application/problem+json"
    assert (problem["status"], problem["reason"]) == (429, "too_many_requests")
    # One more comes after 1 / 0.001 seconds.
    assert 990 <= int(third.headers["Retry-After"]) <= 1000
    assert problem["request_id"] == third.headers["X-Request-ID"]
    assert third.headers["X-Content-Type-Options"] == "nosniff"


def test_others_and_probes_are_not_kept_out(start):
    app = start()
    assert [one.status_code for one in ask(app, *[SIMILAR] * 3)] == [200, 200, 429]
    assert ask(app, SIMILAR, peer="192.0.2.2")[0].status_code == 200
    assert {one.status_code for one in ask(app, *["/healthz", "/readyz"] * 3)} == {200}


def test_a_household_of_ipv6_addresses_is_one_client(start):
    app = start()
    found = [ask(app, SIMILAR, peer=f"2001:db8:1:2::{n}")[0].status_code for n in (1, 2, 3)]
    assert found == [200, 200, 429]
    assert ask(app, SIMILAR, peer="2001:db8:1:3::1")[0].status_code == 200


def test_the_forwarded_address_counts_only_from_a_trusted_proxy(start):
    trusting = start(access=AccessConfig(trusted_proxies=("10.0.0.0/8",)))

    def through(app, forwarded):
        headers = {"X-Forwarded-For": forwarded}
        return ask(app, SIMILAR, peer="10.1.1.1", headers=headers)[0].status_code

    assert [through(trusting, f"192.0.2.{n}") for n in range(4)] == [200] * 4
    # What stands before the proxy's own entry the client wrote itself.
    assert [through(trusting, f"1.2.3.{n}, 192.0.2.9") for n in range(3)] == [200, 200, 429]
    plain = start()
    assert [through(plain, f"192.0.2.{n}") for n in range(3)] == [200, 200, 429]


def test_what_is_refused_is_counted(start):
    app = start()
    ask(app, *[SIMILAR] * 5)
    text = app.state.service.telemetry.render().decode()
    assert 'lookalike_shed_requests_total{reason="client_limit",route="any"} 3.0' in text
    assert 'lookalike_requests_total{method="GET",route="any",status="429"} 3.0' in text


def test_an_upload_over_the_limit_is_refused_unread(start):
    app = start()
    answers = ask(app, *["/v1/search"] * 3, method="POST", content=b"x" * 50_000)
    assert [answer.status_code for answer in answers] == [415, 415, 429]


@pytest.mark.parametrize(("rate", "layer"), [(0.0, FastPath), (5.0, ClientLimit)])
def test_without_a_rate_there_is_no_layer_at_all(rate, layer):
    app = create_app(Engine(), Settings(bundle=Path("unused"), client_rate=rate))
    try:
        assert app.user_middleware[0].cls is layer
    finally:
        app.state.console.close()
        app.state.service.close()
