"""What a server can be told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from components.contracts.errors import InputError
from serving.identity.config import AccessConfig

_MEBIBYTE = 1024 * 1024


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
        poll_seconds: Seconds between two looks at the channel.
        retry_seconds: Seconds before a bundle that failed to load is tried again.
        max_upload_bytes: Largest upload, in bytes.
        max_upload_pixels: Largest width x height of an upload, checked before decoding.
        upload_seconds: Longest time an upload may take, in seconds.
        search_threads: Item searches that run at the same time.
        image_threads: Photos that are decoded and embedded at the same time; each may need a few
            bytes of memory for every pixel.
        shutdown_seconds: Longest wait for open requests when the server is told to stop.
        access: Who may do what.
    """

    registry: str | None = None
    channel: str | None = None
    bundle: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    ready_file: Path | None = None
    cache: Path | None = None
    images: bool = False
    poll_seconds: float = 3.0
    retry_seconds: float = 30.0
    max_upload_bytes: int = 10 * _MEBIBYTE
    max_upload_pixels: int = 25_000_000
    upload_seconds: float = 30.0
    search_threads: int = 4
    image_threads: int = 2
    shutdown_seconds: int = 10
    access: AccessConfig = field(default_factory=AccessConfig)

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
        for name in ("poll_seconds", "retry_seconds", "upload_seconds"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: expected more than 0, received {getattr(self, name)}")
        for name in ("max_upload_bytes", "max_upload_pixels", "search_threads", "image_threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, received {getattr(self, name)}")
