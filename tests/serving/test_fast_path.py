"""The short way and the long way give the same answers."""

from __future__ import annotations

import asyncio
import io
import json
import re
from pathlib import Path

import httpx
import pytest
from PIL import Image

from components.contracts.images import BadImageError
from serving import fast_path
from serving.app import create_app
from serving.engine import Engine
from serving.fast_path import FastPath
from serving.settings import Settings


@pytest.fixture(scope="module")
def bundle(module_maker):
    return module_maker.loaded("v1")


@pytest.fixture
def app(bundle):
    engine = Engine()
    engine.swap(bundle)
    app = create_app(engine, Settings(bundle=Path("unused")))
    yield app
    app.state.service.close()


def ask(app, path, **options):
    async def once():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path, **options)

    return asyncio.run(once())


def both(app, path, monkeypatch, **options):
    """Returns the answer of the short way and that of the long way."""
    taken = []
    original = FastPath._similar

    def noted(self, *arguments):
        taken.append(original(self, *arguments))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(FastPath, "_similar", noted)
        short = ask(app, path, **options)
    assert taken[-1] is not None, "the short way was not taken"
    with monkeypatch.context() as patch:
        patch.setattr(FastPath, "_similar", lambda *_: None)
        long = ask(app, path, **options)
    return short, long


@pytest.mark.parametrize(
    "query", ["", "?k=3", "?k=100", "?exclude_same_product=false", "?k=2&exclude_same_product=true"]
)
def test_both_ways_give_the_same_bytes_and_headers(app, monkeypatch, query):
    path = f"/v1/items/red1/similar{query}"
    short, long = both(app, path, monkeypatch, headers={"X-Request-ID": "one"})
    assert short.status_code == long.status_code == 200
    assert short.content == long.content
    assert dict(short.headers) == dict(long.headers)


def test_both_ways_log_and_count_the_same(app, monkeypatch, caplog):
    with caplog.at_level("INFO", logger="lookalike.serving"):
        both(app, "/v1/items/red1/similar", monkeypatch, headers={"X-Request-ID": "one"})
    short, long = (
        {**record.fields, "milliseconds": 0}
        for record in caplog.records
        if record.getMessage() == "request"
    )
    assert short == long
    (counted,) = [
        line
        for line in _metrics(app).splitlines()
        if line.startswith("lookalike_requests_total") and "similar" in line
    ]
    assert counted.endswith(" 2.0")


def test_both_ways_tell_the_same_stages(app, monkeypatch):
    both(app, "/v1/items/red1/similar", monkeypatch)
    both_photo(app, jpeg(), monkeypatch)
    counts = {}
    line_of = re.compile(r'lookalike_stage_seconds_count{.*(similar|search)",stage="(.*)"} (.*)')
    for line in _metrics(app).splitlines():
        if found := line_of.match(line):
            counts[found[1], found[2]] = float(found[3])
    of_items = ("search", "render")
    of_photos = ("upload", "admit", "queue", "encode", "search", "render")
    assert counts == {
        **{("similar", stage): 2 for stage in of_items},
        **{("search", stage): 2 for stage in of_photos},
    }


def _metrics(app):
    return app.state.service.telemetry.render().decode()


def send(app, body, query="", **headers):
    async def once():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            given = {"Content-Type": "image/jpeg", "X-Request-ID": "one", **headers}
            return await client.post(f"/v1/search{query}", content=body, headers=given)

    return asyncio.run(once())


def both_photo(app, body, monkeypatch, query="", **headers):
    taken = []
    original = FastPath._photo

    async def noted(self, *arguments):
        taken.append(await original(self, *arguments))
        return taken[-1]

    async def never(self, scope, receive):
        return None, receive

    with monkeypatch.context() as patch:
        patch.setattr(FastPath, "_photo", noted)
        short = send(app, body, query, **headers)
    with monkeypatch.context() as patch:
        patch.setattr(FastPath, "_photo", never)
        long = send(app, body, query, **headers)
    return short, long, taken[-1][0] is not None


def jpeg(mode="RGB", size=(24, 16), **options):
    out = io.BytesIO()
    Image.new(mode, size, "red" if mode == "RGB" else 90).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("query", ["", "?k=2"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_both_ways_answer_a_photo_alike(app, monkeypatch, caplog, query, mode):
    with caplog.at_level("INFO", logger="lookalike.serving"):
        short, long, taken = both_photo(app, jpeg(mode), monkeypatch, query)
    assert taken
    assert short.status_code == long.status_code == 200
    assert short.content == long.content
    assert dict(short.headers) == dict(long.headers)
    one, other = (
        {**record.fields, "milliseconds": 0}
        for record in caplog.records
        if record.getMessage() == "request"
    )
    assert one == other


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


@pytest.mark.parametrize(
    ("body", "query", "headers"),
    [
        (turned(), "", {}),
        (jpeg()[:-30], "", {}),
        (b"", "", {}),
        (b"no image", "", {}),
        (jpeg(size=(4, 4)), "", {}),
        (jpeg(), "?k=0", {}),
        (jpeg(), "?min_score=0.5", {}),
        (jpeg(), "?exclude_same_product=true", {}),
        (jpeg(), "", {"Content-Type": "image/png"}),
        (jpeg(), "", {"X-Request-Timeout-Ms": "5000"}),
        (jpeg() + b"\0" * 200_000, "", {}),
    ],
)
def test_any_other_photo_goes_the_long_way_and_gets_its_answer(
    app, monkeypatch, body, query, headers
):
    short, long, taken = both_photo(app, body, monkeypatch, query, **headers)
    assert not taken
    assert short.status_code == long.status_code
    assert short.content == long.content


def test_a_slow_body_is_read_by_the_long_way_from_its_beginning(app, monkeypatch):
    monkeypatch.setattr(fast_path, "_BODY_SECONDS", 0.01)
    photo = jpeg()

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self):
            yield photo[:100]
            await asyncio.sleep(0.1)
            yield photo[100:]

    sized = {"Content-Length": str(len(photo))}
    short, long, taken = both_photo(app, Slow(), monkeypatch, **sized)
    assert not taken
    assert short.status_code == 200
    assert short.content == long.content


def test_a_photo_that_the_encoder_refuses_is_told_by_the_long_way(app, bundle, monkeypatch):
    def refuse(*_):
        raise BadImageError("undecodable_image", "cannot be decoded")

    monkeypatch.setattr(bundle, "encode", refuse)
    answer = send(app, jpeg())
    assert (answer.status_code, answer.json()["reason"]) == (422, "undecodable_image")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/items/nothing/similar", 404),
        ("/v1/items/red1/similar?k=0", 422),
        ("/v1/items/red1/similar?k=101", 422),
        ("/v1/items/red1/similar?k=5&k=0", 422),
        ("/v1/items/red1/similar?department=Seating", 200),
        ("/v1/items/red1/similar?min_score=0.99", 200),
        ("/v1/items/red1/similar?unknown=1", 200),
    ],
)
def test_what_is_refused_or_filtered_goes_the_long_way(app, path, status):
    assert ask(app, path).status_code == status


def test_a_failure_is_told_by_the_long_way(app, bundle, monkeypatch):
    monkeypatch.setattr(type(bundle), "find", lambda *_: 1 / 0)
    answer = ask(app, "/v1/items/red1/similar")
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal_error")


def test_what_may_be_out_of_date_says_so_both_ways(app, monkeypatch):
    service = app.state.service
    service.engine.status.stale = "2026-11-22T12:00:00+00:00"
    for answer in both(app, "/v1/items/red1/similar", monkeypatch):
        assert answer.headers["x-lookalike-stale"] == "2026-11-22T12:00:00+00:00"
    service.engine.status.stale = ""
    assert "x-lookalike-stale" not in ask(app, "/v1/items/red1/similar").headers


def test_the_log_line_is_the_one_of_the_usual_machinery(capsys):
    from serving import log

    log.configure()
    try:
        log.request(
            method="GET",
            path="/v1/items/ä/similar",
            route="r",
            status=200,
            seconds=0.0012,
            request_id="one",
            version="v1",
        )
    finally:
        for name in ("lookalike.serving", "uvicorn"):
            log.logging.getLogger(name).handlers = []
            log.logging.getLogger(name).propagate = True
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry.pop("time").startswith("20")
    assert entry == {
        "level": "info",
        "message": "request",
        "method": "GET",
        "path": "/v1/items/ä/similar",
        "route": "r",
        "status": 200,
        "milliseconds": 1.2,
        "request_id": "one",
        "version": "v1",
    }
