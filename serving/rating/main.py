"""Starting and stopping the rating application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from components.contracts.errors import InputError
from components.contracts.files import write_json
from components.registry.channel import check_channel
from serving import log
from serving.listening import bind, bracketed, listen, quiet_signals
from serving.rating.app import create_app
from serving.rating.front import Desks
from serving.rating.links import Secrets, check_url
from serving.rating.reception import Reception
from serving.rating.sessions import Sessions


@dataclass(frozen=True)
class Settings:
    """Settings of one rating server.

    Attributes:
        registry: URI of the registry that holds the campaigns.
        channel: The channel.
        campaign: The campaign; empty for whichever runs in the channel.
        host: Address to bind; only this machine can reach the default.
        port: TCP port to bind; 0 takes a free one.
        url: Where people reach the server, such as https://rate.example.com; empty for the bound
            address. With https, cookies are sent over HTTPS alone.
        ready_file: Where to write the port, as JSON, once the server answers.
        poll_seconds: Seconds between two looks at the registry.
        lease_minutes: How long a rater holds the pairs given out, in minutes.
        break_minutes: Minutes of rating after which a break is suggested.
    """

    registry: str
    channel: str
    campaign: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    url: str = ""
    ready_file: Path | None = None
    poll_seconds: float = 2.0
    lease_minutes: float = 10.0
    break_minutes: float = 20.0

    def __post_init__(self) -> None:
        """Refuses what no server could be made of.

        Raises:
            InputError: A setting cannot be used.
        """
        check_channel(self.channel)
        if not 0 <= self.port <= 65535:
            raise InputError(f"--port: expected 0 to 65535, received {self.port}")
        if self.url:
            check_url(self.url)
        for name in ("poll_seconds", "lease_minutes", "break_minutes"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}: expected more than 0, received {getattr(self, name)}")


def serve(settings: Settings, keys: Secrets) -> int:
    """Serves until SIGTERM or SIGINT.

    Returns:
        0: the server was told to stop.

    Raises:
        LookalikeError: The port is taken, or the campaign cannot be opened.
    """
    listener = bind(settings.host, settings.port)
    port = listener.getsockname()[1]
    url = settings.url or f"http://{bracketed(settings.host)}:{port}"
    log.configure()
    reception = Reception(
        settings.registry,
        settings.channel,
        keys,
        campaign=settings.campaign,
        poll_seconds=settings.poll_seconds,
        lease_seconds=settings.lease_minutes * 60,
    )
    # Before the first connection: a rater must not meet half a campaign, nor wait for it.
    reception.start()
    listen(listener)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        del app
        campaign = reception.desk.campaign if reception.desk else ""
        log.event("ready", url=f"{url}/", channel=settings.channel, campaign=campaign)
        if settings.ready_file is not None:
            write_json(settings.ready_file, {"port": port, "campaign": campaign})
        yield
        await asyncio.to_thread(reception.stop)

    desks = Desks(
        reception,
        Sessions(keys, settings.channel, url.rstrip("/")),
        break_minutes=settings.break_minutes,
    )
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(desks, lifespan),
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=5,
        )
    )
    with quiet_signals():
        server.run(sockets=[listener])
    return 0
