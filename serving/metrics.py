"""What Prometheus reads at `/metrics`; docs/serving.md lists it, with what to alert on.

Labels take values from small fixed sets, or the few versions that a server has seen: never item
ids, paths or anything else that a client writes. With several worker processes,
`PROMETHEUS_MULTIPROC_DIR` must name an empty folder before this module is loaded; any of them
then answers for all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from serving.telemetry import Telemetry

CONTENT_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# Item searches take fractions of a millisecond, photo searches tens, uploads up to half a minute.
_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
# Writing an answer or searching a small index takes less than any whole request.
_STAGE_SECONDS = (0.00005, 0.0001, 0.00025, *_SECONDS)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
# A second series for each one that only tells when it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]
_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


class Metrics(Telemetry):
    """Counts and times what the server tells of itself."""

    def __init__(self) -> None:
        """Makes the metrics, all of them at zero."""
        self.registry = CollectorRegistry()
        registry = self.registry

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"lookalike_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(
                f"lookalike_{name}",
                text,
                labels,
                registry=registry,
                multiprocess_mode="mostrecent",
            )

        def histogram(
            name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
        ) -> Histogram:
            return Histogram(f"lookalike_{name}", text, labels, registry=registry, buckets=buckets)

        self._requests = counter(
            "requests_total", "Requests answered.", "route", "method", "status"
        )
        self._request_seconds = histogram(
            "request_seconds",
            "From the first byte of a request to the last of its answer.",
            "route",
        )
        self._stage_seconds = histogram(
            "stage_seconds", "Parts of requests: upload, queue, admit, encode, search, render.",
            "route", "stage", buckets=_STAGE_SECONDS,
        )  # fmt: skip
        self._answers = counter("answers_total", "Searches answered.", "route", "version")
        self._empty = counter("empty_answers_total", "Searches without any result.", "route")
        self._starved = counter(
            "starved_answers_total",
            "Searches whose filter left fewer than were asked for.",
            "route",
        )
        self._shed = counter(
            "shed_requests_total", "Requests refused for lack of room or time.", "route", "reason"
        )
        self._encoder_images = histogram(
            "encoder_batch_images", "Images in a run of the encoder.", buckets=_SIZES
        )
        self._encoder_seconds = histogram("encoder_batch_seconds", "A run of the encoder.")
        self._search_queries = histogram(
            "search_batch_queries", "Queries in a call of the searcher.", buckets=_SIZES
        )
        self._search_seconds = histogram("search_batch_seconds", "A call of the searcher.")
        self._swaps = counter("swaps_total", "Bundles put in place, the first one included.")
        self._failed_loads = counter("failed_loads_total", "Live bundles that were refused.")
        self._load_seconds = gauge("load_seconds", "Loading the bundle in place.", "stage")
        self._index = gauge("index_info", "1 for the version in place.", "version")
        self._items = gauge("index_items", "Items in the index in place.")
        self._created = gauge(
            "index_created_timestamp_seconds", "When the bundle in place was built."
        )
        self._age = gauge("index_age_seconds", "Age of the bundle in place.")
        self._stale = gauge("channel_unreadable", "1 while the channel cannot be read.")
        self._source_failures = counter(
            "channel_read_failures_total", "Looks at the channel that failed."
        )
        self._withdrawn = gauge("withdrawn_items", "Items withdrawn now.")
        self._compared = counter(
            "shadow_comparisons_total", "Requests that a second bundle answered, too.", "version"
        )
        self._overlap = histogram(
            "shadow_overlap", "Share of the live answer that the second bundle gives, too.",
            "version", buckets=_SHARES,
        )  # fmt: skip
        self._shadow_seconds = histogram(
            "shadow_seconds", "The same request to both bundles.", "version", "side"
        )
        self._shadow_empty = counter(
            "shadow_empty_answers_total", "Empty answers of the second bundle.", "version"
        )
        self._step_backs = counter("canary_step_backs_total", "Canaries switched off.")
        self._query_log = counter("query_log_lines_total", "Lines of the query log.", "outcome")
        self._refusals = counter("access_refusals_total", "Requests refused a right.", "reason")
        if not _several_processes():
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

        # Looking a series up by its labels costs more than counting: these are asked all the time.
        self._request_counter = cache(self._requests.labels)
        self._request_timer = cache(self._request_seconds.labels)
        self._stage_timer = cache(self._stage_seconds.labels)
        self._answer_counter = cache(self._answers.labels)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """See `Telemetry`."""
        known = method if method in _METHODS else "other"
        self._request_counter(route, known, status).inc()
        self._request_timer(route).observe(seconds)

    def stage(self, route: str, stage: str, seconds: float, ago: float = 0.0) -> None:
        """See `Telemetry`."""
        del ago
        self._stage_timer(route, stage).observe(seconds)

    def answered(self, route: str, *, asked: int, found: int, filtered: bool, version: str) -> None:
        """See `Telemetry`."""
        del asked
        self._answer_counter(route, version).inc()
        if found == 0:
            self._empty.labels(route).inc()
        if filtered:
            self._starved.labels(route).inc()

    def shed(self, route: str, reason: str) -> None:
        """See `Telemetry`."""
        self._shed.labels(route, reason).inc()

    def encoder_batch(self, images: int, seconds: float) -> None:
        """See `Telemetry`."""
        self._encoder_images.observe(images)
        self._encoder_seconds.observe(seconds)

    def search_batch(self, queries: int, seconds: float) -> None:
        """See `Telemetry`."""
        self._search_queries.observe(queries)
        self._search_seconds.observe(seconds)

    def swapped(self, version: str, created: str, items: int, stages: Mapping[str, float]) -> None:
        """See `Telemetry`."""
        self._swaps.inc()
        # The version before keeps its series at 0, so that a graph shows when it ended.
        for other, value in _by_label(self._index).items():
            if value == 0 and not _several_processes():
                self._index.remove(other)
            else:
                self._index.labels(other).set(0)
        self._index.labels(version).set(1)
        self._items.set(items)
        try:
            self._created.set(datetime.fromisoformat(created).timestamp())
        except ValueError:
            self._created.set(0)
        for stage, seconds in stages.items():
            self._load_seconds.labels(stage).set(seconds)

    def load_failed(self, version: str, reason: str) -> None:
        """See `Telemetry`."""
        del version, reason
        self._failed_loads.inc()

    def source(self, *, stale: bool, reason: str) -> None:
        """See `Telemetry`."""
        del reason
        self._stale.set(1 if stale else 0)
        if stale:
            self._source_failures.inc()

    def withdrawn(self, items: int) -> None:
        """See `Telemetry`."""
        self._withdrawn.set(items)

    def compared(
        self,
        *,
        live: str,
        other: str,
        overlap: float,
        live_seconds: float,
        other_seconds: float,
        other_empty: bool,
    ) -> None:
        """See `Telemetry`."""
        del live
        self._compared.labels(other).inc()
        self._overlap.labels(other).observe(overlap)
        self._shadow_seconds.labels(other, "live").observe(live_seconds)
        self._shadow_seconds.labels(other, "other").observe(other_seconds)
        if other_empty:
            self._shadow_empty.labels(other).inc()

    def stepped_back(self, version: str, reason: str) -> None:
        """See `Telemetry`."""
        del version, reason
        self._step_backs.inc()

    def logged_queries(self, *, written: int, dropped: int) -> None:
        """See `Telemetry`."""
        self._query_log.labels("written").inc(written)
        self._query_log.labels("dropped").inc(dropped)

    def refused(self, reason: str) -> None:
        """See `Telemetry`."""
        self._refusals.labels(reason).inc()

    def render(self, now: datetime | None = None) -> bytes:
        """Returns everything in Prometheus' text format.

        Args:
            now: For tests.
        """
        if created := _by_label(self._created)[""]:
            self._age.set((now or datetime.now(UTC)).timestamp() - created)
        if not _several_processes():
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _several_processes() -> bool:
    return bool(os.environ.get(MULTIPROCESS_VARIABLE))


def _by_label(metric: Gauge) -> dict[str, float]:
    return {
        next(iter(sample.labels.values()), ""): sample.value
        for family in metric.collect()
        for sample in family.samples
    }
