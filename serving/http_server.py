"""The HTTP server of one process, which can stop taking connections without dropping a request."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import uvicorn

_CLOSE = (b"connection", b"close")
_BACKLOG = 2048
_LOOK_SECONDS = 0.02


class HttpServer(uvicorn.Server):  # type: ignore[misc]
    """uvicorn on a socket that other processes accept from, too.

    At rest it accepts nothing: what comes is the others'. A client that keeps its connection open
    is told to close it with the next answer, so none is cut off in the middle of a request.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        *,
        accepting: bool = True,
        on_accept: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepares; `run` serves.

        Args:
            config: How uvicorn does it.
            listener: A listening socket; closed in this process when this server ends.
            accepting: Whether it accepts from the start, or rests until `accept`.
            on_accept: Called before it accepts again after a rest.
        """
        super().__init__(config)
        self._listener = listener
        self._accepting = accepting
        self._on_accept = on_accept

    @property
    def accepting(self) -> bool:
        """Whether it takes connections, or will as soon as it has started."""
        return self._accepting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the app, and accepts connections unless it is to rest."""
        del sockets
        await super().startup(sockets=[])
        if self._accepting:
            await self._open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends after the open requests; who comes now is refused at once where nobody else is."""
        self._listener.close()
        await super().shutdown(sockets)

    async def accept(self) -> None:
        """Takes connections from now on; does nothing where it does already."""
        if not self._accepting:
            self._accepting = True
            self._say_close(False)
            self._on_accept()
            if self.started:
                await self._open()

    async def rest(self, *, polite_seconds: float = 1.0, patience_seconds: float = 5.0) -> bool:
        """Takes no more connections, and waits until those that there are have ended.

        Args:
            polite_seconds: How long clients may come once more and be told to close. After that
                idle connections are closed from here.
            patience_seconds: How long requests may take after that.

        Returns:
            Whether all connections have ended.
        """
        self._accepting = False
        for server in self.servers:
            server.close()
        self.servers.clear()
        self._say_close(True)
        if await self._are_gone(polite_seconds):
            return True
        for connection in list(self.server_state.connections):
            connection.shutdown()
        return await self._are_gone(patience_seconds)

    async def _open(self) -> None:
        # uvicorn makes its protocols in the same way, but only once, when it starts.
        def protocol() -> asyncio.Protocol:
            make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
            return make(
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
            )

        # A copy: closing it must leave the socket to the others, and to us for the next time.
        server = await asyncio.get_running_loop().create_server(
            protocol, sock=self._listener.dup(), backlog=_BACKLOG
        )
        self.servers.append(server)

    def _say_close(self, close: bool) -> None:
        """Makes every answer end its connection, or no longer."""
        for headers in (self.config.encoded_headers, self.server_state.default_headers):
            if _CLOSE in headers:
                headers.remove(_CLOSE)
            if close:
                headers.append(_CLOSE)

    async def _are_gone(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self.server_state.connections:
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True
