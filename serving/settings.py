"""What a server can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from components.contracts.errors import InputError
from serving.identity.config import AccessConfig

_MEBIBYTE = 1024 * 1024

_POSITIVE = (
    *("poll_seconds", "retry_seconds", "upload_seconds", "source_seconds", "stale_seconds"),
    *("deadline_seconds", "max_lag_ms", "query_log_seconds"),
)
_COUNTS = (
    *("max_upload_bytes", "max_upload_pixels", "search_threads", "image_threads", "workers"),
    *("cache_bytes", "encoder_batch", "encoder_queue", "image_queue", "search_batch"),
    *("search_queue", "max_batch_items", "client_burst"),
)


def default_cache() -> Path:
    """Returns the per-user folder for downloaded bundles."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lookalike" / "bundles"


@dataclass(frozen=True)
class Settings:
    """Settings of one server; exactly one of a channel and a bundle directory is served.

    Attributes:
        registry: URI of the registry whose channel is followed.
        channel: Name of the channel whose live bundle is served.
        bundle: A bundle directory that is served as it is, without a channel.
        host: Address to bind; only this machine can reach the default.
        port: TCP port to bind; 0 takes a free one.
        ready_file: Where to write the port and version, as JSON, once the server is ready.
        cache: Folder that downloaded bundles are kept in between starts.
        images: Whether catalog pictures are shown: local files named by the bundle whose content
            is still what was indexed, nothing else.
        poll_seconds: Seconds between two looks at the channel and at what is withdrawn: a
            rollback answers everywhere after this.
        retry_seconds: Seconds before a bundle that failed to load is tried again.
        max_upload_bytes: Largest upload, in bytes.
        max_upload_pixels: Largest width x height of an upload, checked before decoding.
        upload_seconds: Longest time an upload may take, in seconds.
        search_threads: Calls of the searcher outside the event loop that run at the same time.
        image_threads: Photos that are checked and decoded at the same time; each may need a few
            bytes of memory for every pixel.
        shutdown_seconds: Longest wait for open requests when the server is told to stop.
        access: Who may do what.
        workers: Server processes that share the port; each holds the index and the encoder.
        spare: Whether one more process than `workers` stands by: bundles are loaded only by
            processes that answer nobody meanwhile, and it takes the place of one that dies.
        cache_bytes: Largest size of the downloaded bundles on disk, in bytes; the live one and
            the one before it stay whatever they take.
        source_seconds: Longest wait for the registry when starting, in seconds; after that the
            last good bundle of the cache answers.
        stale_seconds: Seconds without a look at the channel after which answers are marked stale.
        keep_previous: Whether the bundle that was replaced stays in memory, so that a rollback
            takes no loading.
        encoder_batch: Most photos in one call of the encoder.
        encoder_wait_ms: Longest wait of a photo for others to share that call, in milliseconds.
        encoder_queue: Most photos that wait for the encoder; more are refused with 503.
        image_queue: Most photos that wait to be checked and decoded; more are refused with 503.
        search_batch: Most queries in one call of the searcher.
        search_queue: Most queries that wait for the searcher; more are refused with 503.
        inline_search_ms: Searches that take no longer than this run on the event loop, in
            milliseconds: going to a thread and back costs more. What a search takes is measured
            when a bundle is loaded.
        max_batch_items: Most items in one `POST /v1/batch`.
        deadline_seconds: Longest time an answer may take before it is given up, in seconds; a
            client asks for less with the header X-Request-Timeout-Ms.
        max_lag_ms: How late the event loop may be before requests are refused with 503, in
            milliseconds.
        client_rate: Requests a second that one client may send for long; more are refused with
            429. 0: no limit. A client is an address, as far as it can be believed.
        client_burst: Requests that one client may send at once, where there is a limit.
        second_channel: Another channel whose bundle is tried beside this one; none when None.
        second_mode: `shadow`: it answers in the background and is compared; `canary`: it answers
            for real.
        second_share: The share of requests that it gets, in [0, 1].
        query_log_share: The share of queries that the log in the registry keeps, in [0, 1].
        query_log_seconds: Seconds between two objects of that log.
    """

    registry: str | None = None
    channel: str | None = None
    bundle: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    ready_file: Path | None = None
    cache: Path | None = None
    images: bool = False
    poll_seconds: float = 1.0
    retry_seconds: float = 30.0
    max_upload_bytes: int = 10 * _MEBIBYTE
    max_upload_pixels: int = 25_000_000
    upload_seconds: float = 30.0
    search_threads: int = 4
    image_threads: int = 2
    shutdown_seconds: int = 10
    access: AccessConfig = field(default_factory=AccessConfig)
    workers: int = 1
    spare: bool = False
    cache_bytes: int = 20 * 1024 * _MEBIBYTE
    source_seconds: float = 10.0
    stale_seconds: float = 60.0
    keep_previous: bool = True
    encoder_batch: int = 32
    encoder_wait_ms: float = 2.0
    encoder_queue: int = 128
    image_queue: int = 64
    search_batch: int = 32
    search_queue: int = 256
    inline_search_ms: float = 0.5
    max_batch_items: int = 256
    deadline_seconds: float = 10.0
    max_lag_ms: float = 1000.0
    client_rate: float = 0.0
    client_burst: int = 100
    second_channel: str | None = None
    second_mode: str = "shadow"
    second_share: float = 0.05
    query_log_share: float = 0.0
    query_log_seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuses what no server could be made of.

        Raises:
            InputError: Not exactly one source is given, or a number is out of range.
        """
        if (self.bundle is None) == (self.registry is None and self.channel is None):
            raise InputError(
                "expected either --registry with --channel, or --bundle; received "
                f"{'both' if self.bundle else 'neither'}"
            )
        if self.bundle is None and not (self.registry and self.channel):
            missing = "--channel" if self.registry else "--registry"
            raise InputError(f"--registry and --channel go together; {missing} is missing")
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port: expected 0 to 65535, received {self.port}")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: expected more than 0, received {getattr(self, name)}")
        for name in ("encoder_wait_ms", "inline_search_ms", "client_rate"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}: expected 0 or more, received {getattr(self, name)}")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, received {getattr(self, name)}")
        for name in ("second_share", "query_log_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(
                    f"{name}: expected a share in [0, 1], received {getattr(self, name)}"
                )
        self._check_second()

    def _check_second(self) -> None:
        """Refuses a second channel that cannot be tried."""
        if self.second_mode not in ("shadow", "canary"):
            raise InputError(f"second_mode: expected shadow or canary, received {self.second_mode}")
        if self.second_channel and (self.bundle or self.second_channel == self.channel):
            raise InputError(
                f"second_channel {self.second_channel!r}: expected another channel of the same "
                "registry than the one that is served"
            )
