"""`python -m serving.health`: exits 0 while the server of this container answers.

What an image's health check starts every few seconds: it imports nothing but Python's own library.
"""

from __future__ import annotations

import argparse
import http.client
import sys
from collections.abc import Sequence

_SECONDS = 2.0


def answers(port: int, path: str) -> bool:
    """Returns whether the server on this machine answers 200.

    Args:
        port: Its TCP port on loopback.
        path: What to ask: `/healthz` for alive, `/readyz` for ready.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.health", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="its port (%(default)s)")
    parser.add_argument("--path", default="/healthz", help="what to ask (%(default)s)")
    given = parser.parse_args(arguments)
    return 0 if answers(given.port, given.path) else 1


if __name__ == "__main__":
    sys.exit(main())
