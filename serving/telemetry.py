"""What the server tells of itself while it works; whoever listens subclasses this.

The engine and the routes call these methods and know nothing of metrics or traces. Every method
returns at once and never raises: telemetry must not be able to fail or slow a request. They are
called from the event loop and from worker threads alike.
"""

from __future__ import annotations

from collections.abc import Mapping


class Telemetry:
    """Hears what happens; this one forgets it."""

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: The route's template, such as `/v1/items/{item_id}/similar`; `unmatched` where
                no route fitted. Never a path: item ids must not become label values.
            method: Such as `GET`.
            status: The HTTP status.
            seconds: From the first byte of the request to the last one of the answer.
        """

    def stage(self, route: str, stage: str, seconds: float, ago: float = 0.0) -> None:
        """A part of a request took its time.

        Args:
            route: As in `request`.
            stage: `upload`; `queue` (waits for a thread or for company in a batch, once for each);
                `admit` (checks and decodes); `encode`; `search`; `render` (writes the answer).
            seconds: How long.
            ago: How many seconds ago it ended.
        """

    def answered(self, route: str, *, asked: int, found: int, filtered: bool, version: str) -> None:
        """A search was answered.

        Args:
            route: As in `request`.
            asked: How many results were asked for.
            found: How many there are; 0 is an empty answer.
            filtered: Whether a filter (department, taxon, score, product, withdrawal) left fewer
                than were asked for although the index holds more: filter starvation.
            version: The bundle that answered.
        """

    def shed(self, route: str, reason: str) -> None:
        """A request was refused for lack of room or time: `queue_full`, `deadline`, `not_ready`."""

    def refused(self, reason: str) -> None:
        """A request was refused a right: `not_signed_in`, `bad_credentials`, `not_allowed`."""

    def encoder_batch(self, images: int, seconds: float) -> None:
        """The encoder ran once over so many images."""

    def search_batch(self, queries: int, seconds: float) -> None:
        """The searcher was called once with so many queries."""

    def swapped(self, version: str, created: str, items: int, stages: Mapping[str, float]) -> None:
        """A bundle was put in place.

        Args:
            version: The bundle.
            created: When it was built, ISO 8601 in UTC: the index's age counts from here.
            items: How many items it holds.
            stages: Seconds that each stage of loading took.
        """

    def load_failed(self, version: str, reason: str) -> None:
        """A live bundle could not be put in place; the last good one goes on."""

    def source(self, *, stale: bool, reason: str) -> None:
        """The channel was read, or could not be: then what is served may be stale."""

    def withdrawn(self, items: int) -> None:
        """So many items are withdrawn now."""

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
        """A shadow bundle answered a request that the live one answered.

        Args:
            live: The live version.
            other: The shadow's version.
            overlap: |both| / k of the two answers, in [0, 1].
            live_seconds: What the live bundle needed.
            other_seconds: What the other one needed.
            other_empty: Whether the other answer was empty.
        """

    def stepped_back(self, version: str, reason: str) -> None:
        """The canary was switched off because it passed a limit."""

    def logged_queries(self, *, written: int, dropped: int) -> None:
        """Lines of the query log were written or had to be dropped."""


SILENT = Telemetry()
