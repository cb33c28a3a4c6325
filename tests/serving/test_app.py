from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from serving.app import create_app
from serving.engine import Engine
from serving.settings import Settings


class Server:
    """The app in this process, asked over ASGI."""

    def __init__(self, engine, **settings):
        self.engine = engine
        self.app = create_app(engine, Settings(bundle=Path("unused"), **settings))

    def ask(self, method, path, **options):
        async def once():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(once())

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def close(self):
        self.app.state.service.close()


@pytest.fixture(scope="module")
def bundle(module_maker):
    return module_maker.loaded("v1")


@pytest.fixture
def start(bundle):
    servers = []

    def make(*, empty=False, **settings):
        engine = Engine()
        if not empty:
            engine.swap(bundle)
        servers.append(Server(engine, **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def problem(answer, status, reason):
    """Checks a refusal and returns its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert (content["status"], content["reason"]) == (status, reason)
    assert content["request_id"] == answer.headers["x-request-id"]
    assert content["title"]
    assert "Traceback" not in answer.text
    return content["detail"]


def test_similar_answers_with_version_query_and_results(start):
    answer = start().get("/v1/items/red1/similar?k=2")
    assert answer.status_code == 200
    assert answer.headers["x-lookalike-bundle"] == "v1"
    content = answer.json()
    assert content["version"] == "v1"
    assert content["query"] == {
        "item_id": "red1",
        "product_id": "red",
        "exclude_same_product": True,
    }
    assert len(content["results"]) == 2
    first = content["results"][0]
    assert 0.9 < first.pop("score") < 1
    assert first == {
        "item_id": "orange2",
        "product_id": "orange",
        "title": "<i>orange</i> & co",
        "taxon_id": "sofa",
        "taxon_path": "Seating > Sofas <b>",
        "image": None,
    }


def test_k_defaults_to_ten_and_the_same_product_may_be_asked_for(start):
    server = start()
    # Six products in all: five others, or five and the other image of the item's own.
    assert len(server.get("/v1/items/red1/similar").json()["results"]) == 5
    own = server.get("/v1/items/red1/similar?exclude_same_product=false").json()["results"]
    assert (own[0]["item_id"], len(own)) == ("red2", 6)


@pytest.mark.parametrize("k", ["0", "101", "-1", "ten", "1.5", "", "9" * 400])
def test_a_bad_k_is_refused_by_name(start, k):
    detail = problem(start().get(f"/v1/items/red1/similar?k={k}"), 422, "bad_parameter")
    assert detail.startswith("k: ")
    assert len(detail) < 500


def test_k_of_one_and_of_a_hundred_are_answered(start):
    server = start()
    assert len(server.get("/v1/items/red1/similar?k=1").json()["results"]) == 1
    assert len(server.get("/v1/items/red1/similar?k=100").json()["results"]) == 5


@pytest.mark.parametrize(
    "path", ["/v1/items/{}", "/v1/items/{}/similar", "/v1/items/{}/thumbnail", "/v1/items/{}/image"]
)
@pytest.mark.parametrize(
    "item_id", ["nothing", "../../etc/passwd", "<script>", "\u202e\ufdd0", "x" * 5000]
)
def test_an_unknown_item_is_a_404_that_names_it_shortly(start, path, item_id):
    answer = start(images=True).get(path.format(quote(item_id, safe="")))
    detail = problem(answer, 404, "unknown_item")
    assert "the 12 items of version v1" in detail
    assert len(detail) < 300


def test_an_item_is_described(start):
    content = start().get("/v1/items/blue2").json()
    assert content["version"] == "v1"
    assert content["item"]["taxon_path"] == "Lamps"


def test_a_photo_is_searched_raw_and_as_a_form(start, maker):
    server = start()
    photo = maker.png((40, 60, 210))
    raw = server.ask("POST", "/v1/search?k=1", content=photo)
    form = server.ask("POST", "/v1/search?k=1", files={"image": ("p.png", photo)})
    assert raw.json() == form.json()
    assert raw.json()["query"] == {"format": "PNG", "width": 32, "height": 32}
    assert [hit["item_id"] for hit in raw.json()["results"]] == ["blue1"]


def test_garbage_is_refused_with_its_reason(start, maker):
    server = start(max_upload_bytes=50_000, max_upload_pixels=5000)
    photo = maker.png((40, 60, 210))
    for content, status, reason in [
        (b"", 400, "empty_image"),
        (b"garbage" * 10, 415, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not_an_image"),
        (photo[: len(photo) // 2], 422, "truncated_image"),
        (maker.png((1, 2, 3), (4, 4)), 422, "too_small"),
        (maker.png((1, 2, 3), (100, 51)), 413, "too_many_pixels"),
        (b"x" * 50_001, 413, "too_many_bytes"),
    ]:
        problem(server.ask("POST", "/v1/search", content=content), status, reason)
    problem(server.ask("POST", "/v1/search?k=0", content=photo), 422, "bad_parameter")
    problem(server.ask("POST", "/v1/search", files={"photo": photo}), 400, "missing_image")


def test_unknown_paths_and_methods_are_problems_too(start):
    server = start()
    problem(server.get("/nothing"), 404, "not_found")
    problem(server.ask("DELETE", "/v1/search"), 405, "method_not_allowed")


def test_before_the_first_bundle_only_the_process_is_healthy(start):
    server = start(empty=True)
    assert server.get("/healthz").json() == {"status": "ok"}
    ready = server.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    for path in ("/version", "/v1/items/red1/similar", "/"):
        answer = server.get(path)
        problem(answer, 503, "not_ready")
        assert answer.headers["retry-after"] == "2"


def test_version_and_readiness_tell_what_is_served(start):
    server = start()
    content = server.get("/version").json()
    assert (content["version"], content["items"], content["embedding_dim"]) == ("v1", 12, 4)
    assert re.fullmatch("[0-9a-f]{64}", content["manifest_sha256"])
    ready = server.get("/readyz")
    assert (ready.status_code, ready.json()["version"]) == (200, "v1")


def test_a_failure_of_ours_is_a_500_without_a_traceback(start, monkeypatch, caplog):
    server = start()

    def fail(*_, **__):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(server.engine.current), "find", fail)
    answer = server.get("/v1/items/red1/similar", headers={"X-Request-ID": "call-7"})
    problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    failed = [record for record in caplog.records if record.exc_info]
    assert [record.fields["request_id"] for record in failed] == ["call-7"]


def test_a_request_id_is_kept_when_it_is_harmless_and_made_when_not(start):
    server = start()
    kept = server.get("/healthz", headers={"X-Request-ID": "a.b-c_9"})
    assert kept.headers["x-request-id"] == "a.b-c_9"
    made = server.get("/healthz", headers={"X-Request-ID": "a b<script>"})
    assert re.fullmatch("[0-9a-f]{32}", made.headers["x-request-id"])


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/items/x", "/nothing"])
def test_every_answer_has_the_security_headers(start, path):
    headers = start().get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]


def test_pictures_are_off_unless_asked_for(start):
    server = start()
    problem(server.get("/v1/items/red1/image"), 404, "no_pictures")
    problem(server.get("/v1/items/red1/thumbnail"), 404, "no_pictures")
    assert "/thumbnail" not in server.get("/?item=red1").text


def test_pictures_that_are_still_what_was_indexed_are_shown(start, maker):
    server = start(images=True)
    result = server.get("/v1/items/red1/similar?k=1").json()["results"][0]
    picture = server.get(result["image"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.content == Path(server.engine.current.item(result["item_id"]).image).read_bytes()
    small = server.get("/v1/items/red1/thumbnail")
    assert small.headers["content-type"] == "image/jpeg"
    assert 'src="/v1/items/red1/thumbnail"' in server.get("/?item=red1").text


def test_the_page_answers_an_item_a_photo_and_a_mistake(start, maker):
    server = start()
    page = server.get("/?item=red1")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "Looks like it" in page.text
    assert "<i>" not in page.text
    assert "&lt;i&gt;orange&lt;/i&gt; &amp; co" in page.text
    assert "Seating &gt; Sofas &lt;b&gt;" in page.text

    unknown = server.get("/?item=%3Cscript%3Ealert(1)%3C/script%3E")
    assert unknown.status_code == 404
    assert "<script>alert" not in unknown.text
    assert 'role="alert"' in unknown.text

    photo = server.ask("POST", "/", files={"image": ("p.png", maker.png((40, 60, 210)))})
    assert photo.status_code == 200
    assert 'src="data:image/jpeg;base64,' in photo.text
    assert photo.text.index("item=blue") < photo.text.index("item=grey")

    garbage = server.ask("POST", "/", files={"image": ("p.png", b"no picture")})
    assert garbage.status_code == 415
    assert 'role="alert"' in garbage.text


def test_the_api_describes_itself(start):
    content = start().get("/openapi.json").json()
    assert {"/v1/search", "/v1/items/{item_id}/similar", "/v1/items/{item_id}"} <= set(
        content["paths"]
    )
    (k,) = [
        parameter["schema"]
        for parameter in content["paths"]["/v1/search"]["post"]["parameters"]
        if parameter["name"] == "k"
    ]
    assert (k["minimum"], k["maximum"], k["default"]) == (1, 100, 10)
    assert "multipart/form-data" in content["paths"]["/v1/search"]["post"]["requestBody"]["content"]


def test_answers_never_mix_versions_while_bundles_are_swapped(maker):
    engine = Engine()
    bundles = [maker.loaded("v1", prefix="one-"), maker.loaded("v2", prefix="two-")]
    prefixes = {"v1": "one-", "v2": "two-"}
    engine.swap(bundles[0])
    server = Server(engine)
    photo = maker.png((40, 60, 210))

    async def script():
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            done = asyncio.Event()
            seen = set()

            async def asking():
                while not done.is_set():
                    for answer in (
                        await client.post("/v1/search?k=5", content=photo),
                        await client.get("/v1/items/one-red1/similar"),
                        await client.get("/v1/items/two-red1/similar"),
                    ):
                        content = answer.json()
                        if answer.status_code == 404:
                            version = re.search(r"version (v\d)", content["detail"])[1]
                            assert prefixes[version] not in content["detail"]
                            continue
                        version = content["version"]
                        seen.add(version)
                        assert answer.headers["x-lookalike-bundle"] == version
                        ids = [hit["item_id"] for hit in content["results"]]
                        assert len(ids) == 5
                        assert all(one.startswith(prefixes[version]) for one in ids), content

            tasks = [asyncio.create_task(asking()) for _ in range(4)]
            for number in range(100):
                engine.swap(bundles[number % 2])
                await asyncio.sleep(0.005)
            done.set()
            await asyncio.gather(*tasks)
            assert seen == {"v1", "v2"}

    asyncio.run(script())
    server.close()


def test_the_log_has_one_json_line_a_request_without_the_query_string(start, caplog):
    server = start()
    with caplog.at_level("INFO", logger="lookalike.serving"):
        server.get("/v1/items/red1/similar?k=3")
        server.get("/healthz")
    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    assert record.fields["path"] == "/v1/items/red1/similar"
    assert (record.fields["status"], record.fields["version"]) == (200, "v1")
    assert "k=3" not in json.dumps(record.fields)
