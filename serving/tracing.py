"""OpenTelemetry traces: one span a request, one below it for each stage. Off unless configured.

The standard variables switch it on and say where the spans go, such as
`OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318`; nothing of OpenTelemetry is loaded without.
A caller's `traceparent` header is taken up, so that our spans hang below theirs.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from components.contracts.errors import InputError
from serving.telemetry import Telemetry

SERVICE = "lookalike"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EXPORTERS = {
    "otlp": ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter"),
    "console": ("opentelemetry.sdk.trace.export", "ConsoleSpanExporter"),
}
_current: ContextVar[Any] = ContextVar("span", default=None)


def wanted(environment: Mapping[str, str] = os.environ) -> str:
    """Returns which exporter the environment asks for; empty for no traces.

    Raises:
        InputError: It names one that we do not have.
    """
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    name = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    if not name:
        return "otlp" if any(environment.get(variable) for variable in _ENDPOINTS) else ""
    if name == "none":
        return ""
    if name not in _EXPORTERS:
        raise InputError(f"OTEL_TRACES_EXPORTER: expected otlp, console or none, received {name!r}")
    return name


def from_environment(environment: Mapping[str, str] = os.environ) -> Traces | None:
    """Returns what makes traces, when the environment asks for them.

    Raises:
        InputError: They are asked for and cannot be made.
    """
    name = wanted(environment)
    if not name:
        return None
    module, kind = _EXPORTERS[name]
    try:
        exporter = getattr(importlib.import_module(module), kind)()
    except ImportError as error:
        raise InputError(
            f"traces are asked for, but {error.name} is not installed "
            "(pip install 'lookalike[tracing]'), or OTEL_TRACES_EXPORTER=none"
        ) from None
    export = importlib.import_module("opentelemetry.sdk.trace.export")
    # What a person reads in a terminal comes at once, what goes over the network in batches.
    processor = export.SimpleSpanProcessor if name == "console" else export.BatchSpanProcessor
    return Traces(processor(exporter), environment)


class Traces(Telemetry):
    """Makes spans of requests and their stages."""

    def __init__(self, processor: Any, environment: Mapping[str, str] = os.environ) -> None:
        """Prepares.

        Args:
            processor: An OpenTelemetry span processor.
            environment: Where `OTEL_SERVICE_NAME` may name this service.
        """
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        self._api = importlib.import_module("opentelemetry.trace")
        propagation = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        self._propagator = propagation.TraceContextTextMapPropagator()
        named = "OTEL_SERVICE_NAME" in environment
        self._provider = sdk.TracerProvider(
            resource=resources.Resource.create({} if named else {"service.name": SERVICE})
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("lookalike.serving")

    def begin(self, scope: Scope) -> tuple[Any, str]:
        """Begins the span of a request; returns it with its trace's id in hexadecimal."""
        context = self._propagator.extract(dict(Headers(scope=scope).items()))
        span = self._tracer.start_span(
            scope["method"],
            context=context,
            kind=self._api.SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
        )
        _current.set(span)
        return span, self._api.format_trace_id(span.get_span_context().trace_id)

    def end(self, span: Any, *, method: str, route: str, status: int, version: str) -> None:
        """Ends the span of a request."""
        span.update_name(f"{method} {route}")
        span.set_attributes(
            {
                "http.route": route,
                "http.response.status_code": status,
                "lookalike.bundle": version,
            }
        )
        if status >= 500:
            span.set_status(self._api.Status(self._api.StatusCode.ERROR))
        span.end()
        _current.set(None)

    def stage(self, route: str, stage: str, seconds: float, ago: float = 0.0) -> None:
        """Makes the span of a stage that has ended, below its request's."""
        del route
        parent = _current.get()
        if parent is None:
            return
        end = time.time_ns() - round(1e9 * ago)
        span = self._tracer.start_span(
            stage,
            context=self._api.set_span_in_context(parent),
            start_time=end - round(1e9 * seconds),
        )
        span.end(end_time=end)

    def close(self) -> None:
        """Sends what has not been sent."""
        self._provider.shutdown()


class Several(Telemetry):
    """Tells several listeners."""

    def __init__(self, *listeners: Telemetry) -> None:
        """Takes the listeners, in the order in which they hear."""
        for name in (name for name in vars(Telemetry) if not name.startswith("_")):
            setattr(self, name, _to_each([getattr(listener, name) for listener in listeners]))


def _to_each(methods: list[Any]) -> Any:
    def tell(*values: Any, **named: Any) -> None:
        for method in methods:
            method(*values, **named)

    return tell
