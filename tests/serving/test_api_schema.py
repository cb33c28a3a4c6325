"""`/openapi.json` says who may do what and how each route refuses; the fuzzing holds it to that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from serving.api_schema import ACTION_PATH
from serving.app import create_app
from serving.engine import Engine
from serving.identity.config import AccessConfig
from serving.settings import Settings

TOKEN = "a-token-for-the-schema-0123"
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROTECTED = {
    ("get", "/metrics"),
    ("post", "/v1/items/{item_id}:withdraw"),
    ("post", "/v1/items/{item_id}:restore"),
    ("post", ACTION_PATH),
}
PROBES = {("get", "/healthz"), ("get", "/readyz"), ("get", "/version")}


@pytest.fixture(scope="module")
def bundle(module_maker):
    return module_maker.loaded("described")


@pytest.fixture
def start(bundle, tmp_path):
    (tmp_path / "tokens").write_text(f"someone operate,metrics {TOKEN}\n")
    made = []

    def make(*, limits=None, **access):
        engine = Engine()
        engine.swap(bundle)
        config = AccessConfig(token_file=tmp_path / "tokens", **access)
        settings = Settings(bundle=Path("unused"), access=config, **(limits or {}))
        made.append(create_app(engine, settings))
        return made[-1]

    yield make
    for app in made:
        app.state.console.close()
        app.state.service.close()


def routes(app):
    return {
        (method, path): operation
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }


def ask(app, method, path, **options):
    async def once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, **options)

    path = path.format(item_id="red1", channel="prod", kind="freeze")
    return asyncio.run(once())


def test_what_is_protected_says_by_what(start):
    app = start()
    found = {route for route, operation in routes(app).items() if "security" in operation}
    assert found == PROTECTED
    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert schemes["iap"]["name"] == "x-goog-iap-jwt-assertion"
    assert schemes["session"] == schemes["session"] | {"in": "cookie", "name": "lookalike_session"}
    security = routes(app)["post", ACTION_PATH]["security"]
    assert security == [{"bearer": []}, {"iap": []}, {"session": []}]


def test_a_trusted_header_and_a_secure_cookie_are_named_where_they_are_used(start):
    app = start(
        identity_header="X-Forwarded-Email",
        trusted_proxies=("10.0.0.0/8",),
        operators=("*@shop.example",),
        public_url="https://lookalike.shop.example",
    )
    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes["proxy"]["name"] == "X-Forwarded-Email"
    assert schemes["session"]["name"] == "__Host-lookalike_session"


def test_where_searching_is_closed_every_route_but_the_probes_is_protected(start):
    found = routes(start(open_search=False))
    assert {route for route, one in found.items() if "security" not in one} == PROBES
    for route, one in found.items():
        assert ("401" in one["responses"]) == (route not in PROBES), route


def test_every_refusal_is_a_problem_document_with_a_time_where_one_may_come_back(start):
    for (_, path), operation in routes(start()).items():
        for status, response in operation["responses"].items():
            if status.startswith(("2", "3")) or path in ("/readyz", ACTION_PATH):
                continue
            assert response["content"] == PROBLEM, (path, status)
            assert ("Retry-After" in response.get("headers", {})) == (status in ("429", "503"))


def is_as_told(app, route, answer):
    response = routes(app)[route]["responses"][str(answer.status_code)]
    content = answer.headers["Content-Type"].split(";")[0]
    assert content in response["content"], (route, content)
    assert content == "application/problem+json"
    assert set(answer.json()) >= set(app.openapi()["components"]["schemas"]["Problem"]["required"])


@pytest.mark.parametrize("route", sorted(PROTECTED))
def test_without_a_token_and_with_one_that_may_not_it_refuses_as_told(start, route, tmp_path):
    app = start()
    answer = ask(app, *route)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    is_as_told(app, route, answer)
    wrong = ask(app, *route, headers={"Authorization": "Bearer nobody-has-this-one-012345"})
    assert wrong.json()["reason"] == "bad_credentials"
    is_as_told(app, route, wrong)
    (tmp_path / "tokens").write_text("reader search a-token-of-no-other-right-01\n")
    powerless = start()
    header = {"Authorization": "Bearer a-token-of-no-other-right-01"}
    refused = ask(powerless, *route, headers=header)
    assert (refused.status_code, refused.json()["reason"]) == (403, "not_allowed")
    is_as_told(powerless, route, refused)


def test_over_the_limit_every_route_but_the_free_ones_refuses_as_told(start):
    app = start(limits={"client_rate": 0.001, "client_burst": 1})
    ask(app, "get", "/v1/items/red1")
    free = {("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics")}
    for route in routes(app):
        answer = ask(app, *route)
        assert (answer.status_code == 429) == (route not in free), route
        if route not in free:
            is_as_told(app, route, answer)
            assert int(answer.headers["Retry-After"]) > 0


def test_before_a_bundle_is_there_each_search_says_so_as_told(tmp_path):
    app = create_app(Engine(), Settings(bundle=Path("unused")))
    try:
        bodies = {"/v1/batch": {"json": {"item_ids": ["a"]}}, "/v1/search": {"content": b"x"}}
        for method, path in routes(app):
            if path.startswith("/v1") and ":" not in path:
                answer = ask(app, method, path, **bodies.get(path, {}))
                assert answer.status_code == 503, path
                is_as_told(app, (method, path), answer)
                assert answer.headers["Retry-After"] == "2"
    finally:
        app.state.console.close()
        app.state.service.close()
