from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from serving.app import create_app
from serving.engine import Engine
from serving.identity.config import AccessConfig
from serving.settings import Settings

OPERATOR = "operator-token-0123456789"
SCRAPER = "scraper-token-0123456789"
SHOP = "shop-token-0123456789abc"
BEARER = {"Authorization": f"Bearer {OPERATOR}"}


class Server:
    """The app with some people who may."""

    def __init__(self, bundle, tmp_path, *, address="203.0.113.5", **access):
        file = tmp_path / "tokens"
        file.write_text(f"ada operate {OPERATOR}\nprom metrics {SCRAPER}\nshop search {SHOP}\n")
        access = {"token_file": file, **access}
        engine = Engine()
        engine.swap(bundle)
        settings = Settings(bundle=Path("unused"), access=AccessConfig(**access))
        self.app = create_app(engine, settings)
        self.address = address
        self.cookies = httpx.Cookies()

    def ask(self, method, path, *, address="", **options):
        async def once():
            transport = httpx.ASGITransport(self.app, client=(address or self.address, 1))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://here", cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        return asyncio.run(once())

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def sign_in(self, token=OPERATOR, **options):
        form = self.get("/login?next=/console").text
        (nonce,) = re.findall('name="form" value="([0-9a-f]+)"', form)
        data = {"form": nonce, "token": token, "next": "/console"}
        return self.ask("POST", "/login", data=data, **options)

    def close(self):
        self.app.state.service.close()
        self.app.state.console.close()


@pytest.fixture(scope="module")
def bundle(module_maker):
    return module_maker.loaded("v1")


@pytest.fixture
def start(bundle, tmp_path):
    servers = []

    def make(**options):
        servers.append(Server(bundle, tmp_path, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def reason(answer):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["reason"]


def test_searching_is_open_and_the_rest_is_not(start):
    server = start()
    assert server.get("/v1/items/red1").status_code == 200
    assert server.get("/").status_code == 200
    assert reason(server.get("/metrics")) == (401, "not_signed_in")
    assert server.get("/metrics").headers["www-authenticate"].startswith("Bearer")
    withdrawal = server.ask("POST", "/v1/items/red1:withdraw")
    assert reason(withdrawal) == (401, "not_signed_in")
    page = server.get("/console/versions/v1?x=1")
    assert (page.status_code, page.headers["location"]) == (
        303, "/login?next=%2Fconsole%2Fversions%2Fv1%3Fx%3D1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("token", "status"), [(OPERATOR, 200), (SCRAPER, 200), (SHOP, 403), (OPERATOR + "x", 401)]
)
def test_metrics_are_for_who_may_read_them(start, token, status):
    answer = start().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["content-type"].startswith("text/plain; version=")


@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", f"Bearer{OPERATOR}", OPERATOR])
def test_other_credentials_are_refused(start, header):
    assert reason(start().get("/metrics", headers={"Authorization": header}))[0] == 401


def test_nobody_known_means_nobody_may(start, bundle):
    server = start(token_file=None)
    assert reason(server.get("/metrics", headers=BEARER)) == (403, "no_operators")
    assert "LOOKALIKE_TOKEN_FILE" in server.get("/login").text


def test_guessing_slows_down_for_that_address_only(start):
    server = start()
    wrong = {"Authorization": "Bearer wrong-token-0123456789"}
    statuses = [server.get("/metrics", headers=wrong).status_code for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    blocked = server.get("/metrics", headers=BEARER)
    assert reason(blocked) == (429, "too_many_attempts")
    assert 1 <= int(blocked.headers["retry-after"]) <= 3
    assert server.get("/metrics", headers=BEARER, address="198.51.100.7").status_code == 200
    assert server.get("/v1/items/red1").status_code == 200


def test_no_token_ever_reaches_the_log_or_an_answer(start, caplog):
    server = start()
    secret = "guess-9876543210-guess"
    answers = [
        server.get("/metrics", headers={"Authorization": f"Bearer {secret}"}),
        server.sign_in(secret),
        server.sign_in(),
    ]
    written = caplog.text + "".join(str(getattr(r, "fields", "")) for r in caplog.records)
    for text in [written, *(answer.text for answer in answers)]:
        assert secret not in text
        assert OPERATOR not in text


def test_signing_in_opens_a_session_and_out_ends_it(start):
    server = start()
    answer = server.sign_in()
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if "lookalike_session" in c)
    for part in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert "Secure" not in cookie
    page = server.get("/console")
    # There is no registry behind --bundle: the page says so and still comes.
    assert page.status_code == 503
    assert "serves one bundle directory" in page.text
    (form,) = re.findall(
        'action="/logout"><input type="hidden" name="form" value="(.*?)"', page.text
    )
    assert server.ask("POST", "/logout", data={"form": "x"}).status_code == 403
    assert server.ask("POST", "/logout", data={"form": form}).headers["location"] == "/login"
    assert server.get("/console").status_code == 303


def test_over_https_the_cookie_never_leaves_it(start):
    server = start(public_url="https://here")
    cookies = server.get("/login").headers.get_list("set-cookie")
    assert cookies[0].startswith("__Host-lookalike_form=")
    assert "Secure" in cookies[0]
    assert server.get("/healthz").headers["strict-transport-security"].startswith("max-age=")
    assert "strict-transport-security" not in start().get("/healthz").headers


def test_a_wrong_token_does_not_sign_in_and_guessing_slows_down(start):
    server = start()
    pages = [server.sign_in("wrong-token-0123456789") for _ in range(6)]
    assert [page.status_code for page in pages] == [401] * 5 + [429]
    assert "nobody here has this token" in pages[0].text
    assert "retry-after" in pages[-1].headers
    assert server.get("/console").status_code == 303


@pytest.mark.parametrize(
    "following", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\nb", ""]
)
def test_signing_in_leads_nowhere_else(start, following):
    server = start()
    form = server.get("/login").text
    (nonce,) = re.findall('name="form" value="([0-9a-f]+)"', form)
    data = {"form": nonce, "token": OPERATOR, "next": following}
    assert server.ask("POST", "/login", data=data).headers["location"] == "/console"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://here"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_form_from_another_site_signs_nobody_in(start, headers):
    server = start()
    assert server.sign_in(headers=headers).status_code == 403
    assert server.get("/console").status_code == 303


def test_a_form_without_its_cookie_or_token_signs_nobody_in(start):
    server = start()
    assert server.ask("POST", "/login", data={"token": OPERATOR}).status_code == 403
    form = server.get("/login").text
    (nonce,) = re.findall('name="form" value="([0-9a-f]+)"', form)
    server.cookies = httpx.Cookies()
    answer = server.ask("POST", "/login", data={"token": OPERATOR, "form": nonce})
    assert answer.status_code == 403
    assert "this form is no longer good" in answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"a=" + b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=b" for _ in range(100)), "application/x-www-form-urlencoded", 400),
    ],
)
def test_what_is_no_form_of_ours_is_refused(start, content, kind, status):
    answer = start().ask("POST", "/login", content=content, headers={"Content-Type": kind})
    assert reason(answer)[0] == status


def proxied(start, **options):
    options = {
        "token_file": None, "identity_header": "X-Forwarded-Email",
        "trusted_proxies": ("10.0.0.0/8",), "operators": ("*@ops.example",), **options,
    }  # fmt: skip
    return start(**options)


def test_a_trusted_proxy_says_who_asks_and_nobody_else(start):
    server = proxied(start)
    who = {"X-Forwarded-Email": "ada@ops.example"}
    assert server.get("/metrics", headers=who, address="10.1.2.3").status_code == 200
    assert reason(server.get("/metrics", headers=who, address="11.1.2.3"))[0] == 401
    other = {"X-Forwarded-Email": "eve@shop.example"}
    assert reason(server.get("/metrics", headers=other, address="10.1.2.3"))[0] == 403
    twice = [("X-Forwarded-Email", "ada@ops.example")] * 2
    assert reason(server.get("/metrics", headers=twice, address="10.1.2.3"))[0] == 401


def test_a_proxys_visitor_cannot_be_made_to_act_by_another_site(start):
    server = proxied(start, address="10.1.2.3")
    who = {"X-Forwarded-Email": "ada@ops.example"}
    path = "/v1/items/red1:withdraw"
    evil = {**who, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert reason(server.ask("POST", path, headers=evil)) == (403, "other_site")
    assert reason(server.ask("POST", path, headers=who)) == (409, "no_registry")


def test_where_searching_is_closed_only_probes_answer_everybody(start):
    server = start(open_search=False)
    for path in ("/healthz", "/readyz", "/version"):
        assert server.get(path).status_code == 200
    for path in ("/v1/items/red1", "/v1/items/red1/similar", "/openapi.json", "/nothing"):
        assert reason(server.get(path)) == (401, "not_signed_in")
        shop = {"Authorization": f"Bearer {SHOP}"}
        assert server.get(path, headers=shop).status_code == (404 if path == "/nothing" else 200)
    assert reason(server.ask("POST", "/v1/search", content=b"x"))[0] == 401
    scraper = {"Authorization": f"Bearer {SCRAPER}"}
    assert reason(server.get("/v1/items/red1", headers=scraper)) == (403, "not_allowed")
    page = server.get("/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["location"]) == (303, "/login?next=%2F")


def test_refusals_are_counted(start):
    server = start()
    server.get("/metrics")
    text = server.get("/metrics", headers=BEARER).text
    assert 'lookalike_access_refusals_total{reason="not_signed_in"} 1.0' in text
