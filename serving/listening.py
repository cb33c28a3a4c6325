"""The socket that a server listens on, and how the server is told to stop."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from components.contracts.errors import LookalikeError


def bind(host: str, port: int) -> socket.socket:
    """Returns a bound socket that does not listen yet.

    Raises:
        LookalikeError: The address cannot be bound.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise _taken(host, port, error) from None
    return listener


def listen(listener: socket.socket) -> None:
    """Lets a bound socket take connections from now on.

    Raises:
        LookalikeError: Somebody else listens there.
    """
    host, port = listener.getsockname()[:2]
    try:
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise _taken(host, port, error) from None


def _taken(host: str, port: int, error: OSError) -> LookalikeError:
    return LookalikeError(
        f"cannot listen on {host} port {port}: {error.strerror}; stop what listens there, or "
        "choose another with --port (0 takes a free one)"
    )


def bracketed(host: str) -> str:
    """Returns a host as an address spells it."""
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def quiet_signals() -> Iterator[None]:
    """Lets a stop that was asked for end with 0: uvicorn raises the signal again when it is done.

    Outside the main thread there is nothing to do: signals do not arrive there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous: dict[signal.Signals, Any] = {
        number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
