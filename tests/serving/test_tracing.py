from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from components.contracts.errors import InputError
from serving import log, tracing
from serving.app import create_app
from serving.engine import Engine
from serving.settings import Settings
from serving.telemetry import Telemetry
from serving.tracing import Several, Traces, wanted


@pytest.mark.parametrize(
    ("environment", "exporter"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "x"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ""),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_the_standard_variables_switch_it_on(environment, exporter):
    assert wanted(environment) == exporter


def test_an_unknown_exporter_is_refused_by_name():
    with pytest.raises(InputError, match="OTEL_TRACES_EXPORTER: expected otlp, console or none"):
        wanted({"OTEL_TRACES_EXPORTER": "carrier-pigeon"})


def test_what_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(tracing._EXPORTERS, "otlp", ("not_there_at_all", "Exporter"))
    with pytest.raises(InputError, match=r"lookalike\[tracing\]"):
        tracing.from_environment({"OTEL_TRACES_EXPORTER": "otlp"})


def test_nothing_is_loaded_when_it_is_off():
    code = (
        "import sys; from serving import tracing; assert tracing.from_environment({}) is None; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def ask(exporter, module_maker, tmp_path):
    engine = Engine()
    engine.swap(module_maker.loaded(f"traced-{tmp_path.name}"))
    traces = Traces(SimpleSpanProcessor(exporter), {})
    app = create_app(engine, Settings(bundle=Path("unused")), traces=traces)

    def once(method, path, **options):
        async def run():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(run())

    yield once
    traces.close()
    app.state.service.close()


def test_a_photo_search_is_a_span_with_its_stages_below(ask, exporter, maker):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = ask(
        "POST", "/v1/search", content=maker.png((9, 9, 9)), headers={"traceparent": parent}
    )
    assert answer.status_code == 200
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request = spans["POST /v1/search"]
    assert format(request.context.trace_id, "032x") == "0af7651916cd43dd8448eb211c80319c"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["lookalike.bundle"].startswith("traced-")
    assert request.resource.attributes["service.name"] == "lookalike"
    for stage in ("upload", "admit", "encode", "search"):
        span = spans[stage]
        assert span.parent.span_id == request.context.span_id
        assert request.start_time <= span.end_time <= request.end_time


def test_no_item_id_is_in_a_span(ask, exporter):
    ask("GET", "/v1/items/red1")
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET /v1/items/{item_id}"
    assert "red1" not in str(dict(span.attributes))


def test_the_log_names_the_trace(ask, monkeypatch, request):
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(log.JsonFormatter())
    monkeypatch.setattr(log.logger, "handlers", [handler])
    monkeypatch.setattr(log.logger, "propagate", False)
    request.addfinalizer(lambda before=log.logger.level: log.logger.setLevel(before))
    log.logger.setLevel(logging.INFO)
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = ask(
        "GET", "/v1/items/red1", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    )
    (entry,) = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert entry["trace_id"] == trace
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert entry["route"] == "/v1/items/{item_id}"


def test_several_listeners_hear_everything():
    heard = []

    class Ear(Telemetry):
        def shed(self, route, reason):
            heard.append((route, reason))

    Several(Ear(), Ear()).shed("/v1/search", "queue_full")
    assert heard == [("/v1/search", "queue_full")] * 2
