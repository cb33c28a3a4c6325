"""Beam's local runner, told of the workers that it loses.

A worker process of `apache_beam.runners.portability.fn_api_runner` that is killed (for its memory,
say) after it sent a bundle's data but before it reported the bundle done leaves the runner waiting
for that report for ever: only the data channel knows of a lost connection, the control channel does
not. Seen with Beam 2.77, about one time in six with two workers on a busy machine.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

LOST = "SDK worker lost: its control stream ended before its work was done"


@contextlib.contextmanager
def lost_workers_are_told() -> Iterator[None]:
    """Lets Beam's local runner end with `LOST` where it would wait for a worker that is gone.

    For the whole process while the body runs; Beam has no public place for it.
    """
    from apache_beam.runners.portability.fn_api_runner import worker_handlers  # noqa: PLC0415

    own = worker_handlers.ControlConnection
    worker_handlers.ControlConnection = _watched_connection()
    try:
        yield
    finally:
        worker_handlers.ControlConnection = own


@functools.cache
def _watched_connection() -> Any:
    from apache_beam.runners.portability.fn_api_runner import worker_handlers  # noqa: PLC0415

    class WatchedConnection(worker_handlers.ControlConnection):  # type: ignore[misc]
        """A worker's control connection whose open requests fail when the worker is gone."""

        def __init__(self) -> None:
            super().__init__()
            self._ended = False

        def _read(self) -> None:
            # Whatever ends the stream: a killed worker's is broken off with an error of gRPC's,
            # which says nothing about the work, and a worker that left in order owes nothing.
            with contextlib.suppress(Exception):
                super()._read()
            self._ended = True
            self._abort_open()

        def push(self, request: Any) -> Any:
            future = super().push(request)
            if self._ended:
                self._abort_open()
            return future

        def _abort_open(self) -> None:
            for future in tuple(self._futures_by_id.values()):
                future.abort(RuntimeError(LOST))

    return WatchedConnection
