"""How many requests one client may send: a token bucket for each address.

A client may send `burst` requests at once, and `rate` a second for long. Nothing is kept but the
moment at which a client's bucket will be full again (the generic cell rate algorithm of ITU-T
I.371, which is a token bucket without a timer), and of no more clients than fit.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.identity import proxies
from serving.problems import respond
from serving.telemetry import Telemetry

# Whoever watches the server must see it when it is busy, too.
_FREE_PATHS = frozenset(("/healthz", "/readyz", "/metrics"))


class Buckets:
    """The buckets of all clients. Used from one thread only."""

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        kept: int = 50_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts with full buckets.

        Args:
            rate: Requests a second that a client may send for long.
            burst: Requests that it may send at once.
            kept: Most clients to remember, some 200 bytes each; the one that has not asked for
                the longest goes first, and finds its bucket full when it comes back.
            clock: Seconds; for tests.
        """
        self._interval = 1.0 / rate
        self._slack = (burst - 1) / rate
        self._kept = kept
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._full_at)

    def take(self, client: str) -> float:
        """Takes a token; returns 0, or the seconds until there is one when there is none."""
        now = self._clock()
        full_at = self._full_at.get(client, now)
        wait = full_at - now - self._slack
        # Rounding must not refuse the last request of a burst.
        if wait > 1e-9:
            return wait
        self._full_at[client] = max(full_at, now) + self._interval
        self._full_at.move_to_end(client)
        if len(self._full_at) > self._kept:
            self._full_at.popitem(last=False)
        return 0.0


@dataclass(frozen=True)
class _EveryRoute:
    """What the log and the metrics call the route of a request that was not looked at."""

    path: str = "any"


class ClientLimit:
    """Refuses with 429 what a client sends too much; the outermost layer, where it is set."""

    def __init__(
        self,
        app: ASGIApp,
        buckets: Buckets,
        networks: tuple[proxies.Network, ...],
        telemetry: Telemetry,
        around: Callable[[ASGIApp], ASGIApp],
    ) -> None:
        """Wraps the app.

        Args:
            app: What answers.
            buckets: The clients' buckets.
            networks: Proxies whose `X-Forwarded-For` is believed.
            telemetry: Hears of what is refused.
            around: Wraps the refusal in what every answer has: an id, headers, a line in the log.
        """
        self.app = app
        self._buckets = buckets
        self._through_proxies = bool(networks)
        # Reading addresses takes longer than everything else here.
        self._client = lru_cache(maxsize=4096)(
            lambda peer, hops: proxies.forwarded_for(peer, hops.decode("latin-1"), networks)
        )
        self._telemetry = telemetry
        self._refuse = around(self._refusal)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "http" and (wait := self._wait(scope)):
            scope["lookalike.wait"] = wait
            scope["route"] = _EveryRoute()
            await self._refuse(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _wait(self, scope: Scope) -> float:
        if scope["path"] in _FREE_PATHS:
            return 0.0
        peer = scope.get("client")
        address = peer[0] if peer else ""
        if self._through_proxies:
            values = (value for name, value in scope["headers"] if name == b"x-forwarded-for")
            address = self._client(address, b",".join(values))
        return self._buckets.take(proxies.household(address))

    async def _refusal(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._telemetry.shed("any", "client_limit")
        seconds = str(math.ceil(scope["lookalike.wait"]))
        response = respond(
            Request(scope),
            429,
            "too_many_requests",
            f"too many requests came from this address; try again in {seconds} s",
            {"Retry-After": seconds},
        )
        await response(scope, receive, send)
