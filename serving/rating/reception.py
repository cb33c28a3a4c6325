"""Which campaign is open: one by name, or whichever runs in the channel; kept in step aside."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from components.contracts.errors import LookalikeError
from components.registry.campaigns import read_current
from components.registry.object_store import open_store
from components.registry.registry import Registry
from serving import log
from serving.rating.desk import Desk
from serving.rating.links import Secrets

_COMPACT_EVERY_S = 60.0
_JUDGE_EVERY_S = 5.0


class Reception:
    """Holds the desk of the open campaign."""

    def __init__(
        self,
        registry: str,
        channel: str,
        keys: Secrets,
        *,
        campaign: str = "",
        poll_seconds: float = 2.0,
        lease_seconds: float = 600.0,
    ) -> None:
        """Opens the registry without reading a campaign.

        Args:
            registry: The registry's URI.
            channel: The channel.
            keys: What forms are signed with.
            campaign: The campaign; empty for whichever runs in the channel.
            poll_seconds: Seconds between two looks at the registry.
            lease_seconds: How long a rater holds the pairs given out, in seconds.
        """
        self.registry = registry
        self.channel = channel
        self.desk: Desk | None = None
        self._campaign = campaign
        self._keys = keys
        self._store = open_store(registry)
        self._policies = Registry.open(registry)
        self._poll_seconds = poll_seconds
        self._lease_seconds = lease_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._due: dict[str, float] = {}

    def start(self) -> None:
        """Opens the campaign and follows the registry from now on.

        Raises:
            LookalikeError: The named campaign cannot be opened.
        """
        self.look()
        self._thread = threading.Thread(target=self._follow, name="follow", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops following."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def look(self) -> None:
        """Looks at the registry once.

        Raises:
            LookalikeError: It does not answer, or the campaign cannot be opened.
        """
        campaign = self._campaign or read_current(self._store, self.channel)[0].campaign
        if not campaign:
            return
        desk = self.desk
        if desk is None or desk.campaign != campaign:
            allowed = self._policies.policy(self.channel).allow_simulated
            self.desk = Desk(
                self._store,
                self.channel,
                campaign,
                self._keys,
                allow_simulated=allowed,
                lease_seconds=self._lease_seconds,
            )
            log.event("campaign opened", channel=self.channel, campaign=campaign)
            return
        desk.catch_up()
        started = time.monotonic()
        self._now_and_then("judge", _JUDGE_EVERY_S, desk.judge)
        # A large campaign is judged less often: raters are served first.
        self._due["judge"] += 20 * (time.monotonic() - started)
        self._now_and_then("compact", _COMPACT_EVERY_S, lambda: self._compact(desk))

    def _compact(self, desk: Desk) -> None:
        moved = desk.log.compact()
        if moved:
            log.event("ratings compacted", campaign=desk.campaign, moved=moved)

    def _now_and_then(self, name: str, every_s: float, what: Callable[[], object]) -> None:
        if time.monotonic() >= self._due.get(name, 0.0):
            self._due[name] = time.monotonic() + every_s
            what()

    def _follow(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            try:
                self.look()
            except LookalikeError as error:
                # Raters go on with what is in memory; their answers are written one by one.
                log.event("the registry cannot be followed", level=logging.WARNING, why=str(error))
            except Exception:
                log.logger.exception("following the registry failed")
