from __future__ import annotations

import pytest

from components.contracts.errors import LookalikeError
from components.registry import query_log
from components.registry.object_store import open_store
from serving.query_log import QueryLog
from serving.telemetry import Telemetry


class Heard(Telemetry):
    def __init__(self):
        self.lines = []

    def logged_queries(self, *, written, dropped):
        self.lines.append((written, dropped))


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "registry"))


def test_counts_are_written_and_nothing_else(store):
    heard = Heard()
    log = QueryLog(store, "prod", share=1.0, seconds=1000, telemetry=heard)
    for _ in range(3):
        log.item("v1", "a")
    log.photo("v1", "9f86")
    log.close()
    (segment,) = query_log.segments(store, "prod", days=1)
    assert dict(segment.items) == {"a": 3}
    assert dict(segment.photos) == {"9f86": 1}
    assert (segment.share, segment.version) == (1.0, "v1")
    assert heard.lines == [(2, 0)]


def test_a_share_is_a_share(store):
    log = QueryLog(store, "prod", share=0.25, seconds=1000)
    for number in range(4000):
        log.item("v1", str(number % 10))
    log.close()
    (segment,) = query_log.segments(store, "prod", days=1)
    # 1000 on average with a standard deviation of 27.
    assert 850 < sum(segment.items.values()) < 1150


def test_nothing_asked_writes_nothing(store):
    QueryLog(store, "prod", share=1.0, seconds=1000).close()
    assert list(query_log.segments(store, "prod", days=1)) == []


def test_it_is_written_while_the_server_runs(store):
    log = QueryLog(store, "prod", share=1.0, seconds=0.02)
    log.item("v1", "a")
    for _ in range(500):
        if list(query_log.segments(store, "prod", days=1)):
            break
        log._ending.wait(0.01)
    else:
        pytest.fail("not written")
    log.close()


def test_what_cannot_be_written_is_dropped_and_told(store, monkeypatch):
    heard = Heard()
    log = QueryLog(store, "prod", share=1.0, seconds=1000, telemetry=heard)
    log.item("v1", "a")

    def away(*_, **__):
        raise LookalikeError("away")

    monkeypatch.setattr(type(store), "write", away)
    log.close()
    assert heard.lines == [(0, 1)]


def test_memory_is_bounded(store, monkeypatch):
    monkeypatch.setattr("serving.query_log._MOST_KEYS", 2)
    heard = Heard()
    log = QueryLog(store, "prod", share=1.0, seconds=1000, telemetry=heard)
    for item_id in ("a", "b", "c", "a", "d"):
        log.item("v1", item_id)
    log.close()
    (segment,) = query_log.segments(store, "prod", days=1)
    assert dict(segment.items) == {"a": 2, "b": 1}
    assert heard.lines == [(2, 2)]
