"""SIGTERM as an event: a step that is told to stop ends its group in order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def told_on_sigterm() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM sets; never set outside the main thread."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def tell(_number: int, _frame: FrameType | None) -> None:
        told.set()

    previous = signal.signal(signal.SIGTERM, tell)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, previous)
