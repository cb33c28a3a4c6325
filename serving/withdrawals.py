"""Items taken out between two builds, as this server knows them."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from components.contracts.errors import LookalikeError
from components.contracts.files import write_atomically
from components.registry import withdrawals
from components.registry.backoff import Backoff
from components.registry.object_store import ObjectNotFoundError, ObjectStore
from components.registry.withdrawals import Withdrawals
from serving import log
from serving.engine import Engine
from serving.telemetry import SILENT, Telemetry

# A person waits for the answer.
_BACKOFF = Backoff(deadline_s=15.0, cap_s=2.0)


class Withdrawn:
    """Keeps engines in step with a channel's withdrawals. Its methods block."""

    def __init__(
        self,
        store: ObjectStore,
        channel: str,
        engines: list[Engine],
        *,
        copy: Path | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """Starts with nothing withdrawn; `start` looks.

        Args:
            store: The registry's store.
            channel: The channel.
            engines: Whose bundles show no withdrawn item.
            copy: Local file that keeps the last known state for a start without the registry.
            telemetry: Hears how many items are withdrawn.
        """
        self._store = store
        self._channel = channel
        self._engines = engines
        self._copy = copy
        self.telemetry = telemetry
        self._lock = threading.Lock()
        self._known = Withdrawals(generation=-1)
        self.problem = ""

    def start_from_copy(self) -> None:
        """Applies what was known when a server last ran here: until the registry answers."""
        if self._copy is None or not self._copy.is_file():
            return
        try:
            known = withdrawals.parse(self._copy.read_bytes(), source=str(self._copy))
        except (LookalikeError, OSError) as error:
            log.event("kept withdrawals unreadable", level=logging.WARNING, reason=str(error))
            return
        self._apply(Withdrawals(known.items, generation=-1))

    def look(self) -> None:
        """Reads what is withdrawn when it has changed; never raises: the last known state stays."""
        try:
            generation = self._generation()
            if generation != self._known.generation:
                self._apply(withdrawals.read(self._store, self._channel))
        except (LookalikeError, OSError) as error:
            if not self.problem:
                log.event(
                    "withdrawals cannot be read, the last known ones stay",
                    level=logging.ERROR,
                    reason=str(error),
                )
            self.problem = str(error)
        else:
            self.problem = ""

    def change(self, item_id: str, *, withdraw: bool, who: str, why: str) -> tuple[bool, int]:
        """Withdraws or restores an item here at once, and everywhere within seconds.

        Returns:
            Whether this changed anything, and how many items are withdrawn now.

        Raises:
            InputError: A name or reason cannot be one.
            LookalikeError: The registry did not take it.
        """
        after, changed = withdrawals.change(
            self._store,
            self._channel,
            item_id,
            withdraw=withdraw,
            who=who,
            why=why,
            backoff=_BACKOFF,
        )
        self._apply(after)
        if changed:
            log.event(
                "item withdrawn" if withdraw else "item restored", item=item_id, who=who, why=why
            )
        return changed, len(after.items)

    def is_withdrawn(self, item_id: str) -> bool:
        """Whether an item is withdrawn, as far as this server knows."""
        return item_id in self._known.items

    def _generation(self) -> int:
        try:
            return self._store.stat(withdrawals.key_of(self._channel)).generation
        except ObjectNotFoundError:
            if self._known.items:
                # It is never deleted, not even when all is restored: the registry is not the one it
                # was, such as a folder that is not mounted.
                raise LookalikeError(
                    f"{withdrawals.key_of(self._channel)} is gone from the registry: expected the "
                    f"{len(self._known.items)} items that were withdrawn; bring it back"
                ) from None
            return 0

    def _apply(self, known: Withdrawals) -> None:
        with self._lock:
            self._known = known
            for engine in self._engines:
                engine.withdraw(known.items.keys())
            if self._copy is not None and known.generation >= 0:
                try:
                    self._copy.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(self._copy, known.to_bytes(self._channel))
                except OSError as error:
                    log.event(
                        "withdrawals not kept on disk", level=logging.WARNING, reason=str(error)
                    )
        self.telemetry.withdrawn(len(known.items))
