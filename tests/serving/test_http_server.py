"""A real server on a real socket, with an app that says one word."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading

import pytest
import uvicorn

from serving.http_server import HttpServer
from serving.listening import bind, listen


class Running:
    """One server in a thread of its own."""

    def __init__(self, listener, word, *, accepting=True):
        self.slow = threading.Event()
        self.let_go = threading.Event()
        self.accepted_again = 0

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
                return
            if scope["path"] == "/slow":
                self.slow.set()
                await asyncio.to_thread(self.let_go.wait, 30)
            body = word.encode()
            headers = [(b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        config = uvicorn.Config(app, http="httptools", log_config=None, lifespan="on")
        config.load()
        self.server = HttpServer(
            config, listener, accepting=accepting, on_accept=self._note_accepting
        )
        self.loop = None
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.started.wait(30)

    def _note_accepting(self):
        self.accepted_again += 1

    def _run(self):
        async def serve():
            self.loop = asyncio.get_running_loop()
            serving = asyncio.create_task(self.server.serve())
            while not self.server.started:
                await asyncio.sleep(0.01)
            self.started.set()
            await serving

        asyncio.run(serve())

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def stop(self):
        self.let_go.set()
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def two():
    listener = bind("127.0.0.1", 0)
    listen(listener)
    first = Running(listener, "first")
    second = Running(listener, "second", accepting=False)
    yield listener.getsockname()[1], first, second
    first.stop()
    second.stop()
    listener.close()


def ask(connection, path="/"):
    connection.request("GET", path)
    response = connection.getresponse()
    return response.read().decode(), response.getheader("connection")


def connect(port):
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30))


def test_a_server_at_rest_takes_no_connection_until_it_accepts(two):
    port, first, second = two
    for _ in range(5):
        with connect(port) as connection:
            assert ask(connection) == ("first", None)
    assert not second.server.accepting
    second.do(second.server.accept()).result(30)
    assert second.accepted_again == 1
    assert first.do(first.server.rest()).result(30)
    for _ in range(5):
        with connect(port) as connection:
            assert ask(connection) == ("second", None)
    # And back again, on the same listener.
    first.do(first.server.accept()).result(30)
    second.do(second.server.rest()).result(30)
    with connect(port) as connection:
        assert ask(connection) == ("first", None)


def test_a_kept_connection_is_answered_once_more_and_told_to_close(two):
    port, first, second = two
    with connect(port) as connection:
        assert ask(connection) == ("first", None)
        second.do(second.server.accept()).result(30)
        resting = first.do(first.server.rest(polite_seconds=30))
        while first.server.accepting:
            pass
        assert ask(connection) == ("first", "close")
        assert resting.result(30)
        # The client opens a new one by itself.
        assert ask(connection) == ("second", None)


def test_an_idle_connection_is_closed_after_a_while_and_a_busy_one_is_answered(two):
    port, first, second = two
    with connect(port) as idle, connect(port) as busy:
        assert ask(idle) == ("first", None)
        busy.request("GET", "/slow")
        assert first.slow.wait(30)
        second.do(second.server.accept()).result(30)
        resting = first.do(first.server.rest(polite_seconds=0.1, patience_seconds=30))
        idle.sock.settimeout(30)
        assert idle.sock.recv(1) == b""
        assert not resting.done()
        first.let_go.set()
        answer = busy.getresponse()
        assert (answer.read(), answer.getheader("connection")) == (b"first", "close")
        assert resting.result(30)


def test_one_that_never_ends_is_not_waited_for(two):
    port, first, second = two
    with connect(port) as busy:
        busy.request("GET", "/slow")
        assert first.slow.wait(30)
        second.do(second.server.accept()).result(30)
        ended = first.do(first.server.rest(polite_seconds=0.05, patience_seconds=0.05)).result(30)
        assert ended is False
        first.let_go.set()
        assert busy.getresponse().read() == b"first"


def test_who_comes_while_it_ends_is_refused_at_once():
    listener = bind("127.0.0.1", 0)
    listen(listener)
    port = listener.getsockname()[1]
    only = Running(listener, "only")
    with connect(port) as busy:
        busy.request("GET", "/slow")
        assert only.slow.wait(30)
        only.server.should_exit = True
        while True:
            try:
                with connect(port) as late:
                    ask(late)
            except ConnectionRefusedError:
                break
            except ConnectionError:
                # It came just before.
                continue
        only.let_go.set()
        assert busy.getresponse().read() == b"only"
    only.stop()
