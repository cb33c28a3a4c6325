"""The log: what is acknowledged is there, once, whoever is killed when; on both stores."""

import importlib.util
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from components.human_eval import rating_log
from components.human_eval.rating_log import DoubledError, RatingLog, gather
from components.human_eval.rating_records import Record
from components.registry.backoff import Backoff
from components.registry.local_store import LocalStore
from components.registry.object_store import (
    ABSENT,
    ObjectStoreError,
    OutcomeUnknownError,
    open_store,
)

AT = "2026-11-22T12:00:00.000+00:00"
PREFIX = "campaigns/demo/c/"
SOON = Backoff(first_s=0.001, cap_s=0.01, deadline_s=0.2)


def record(number: int, *, rater: str = "ann", grade: int | None = 2) -> Record:
    return Record(f"t{number}", rater, grade, 1.0, AT, "c", "web")


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path / "registry")


def opened(store) -> RatingLog:
    return RatingLog(store, PREFIX, backoff=SOON)


def names(entries) -> list[str]:
    return sorted(entry.record.task_id if entry.record else entry.reason for entry in entries)


def test_an_empty_log(store):
    log = opened(store)

    assert log.read() == []
    assert log.follow() == []
    assert not log.has_ratings()
    assert log.compact(least=0) == 0


def test_an_answer_is_there_for_everybody_at_once(store):
    log, other = opened(store), opened(store)

    assert log.append(record(1)) == record(1)
    assert names(other.follow()) == ["t1"]
    assert names(log.follow()) == ["t1"]
    assert other.follow() == log.follow() == []
    assert other.has_ratings()


def test_the_same_answer_again_is_acknowledged_once(store):
    log, other = opened(store), opened(store)
    log.append(record(1))

    assert log.append(record(1)) == record(1)
    # A replica that has not looked yet, and an answer that took another time.
    assert other.append(Record("t1", "ann", 2, 9.0, AT, "c", "web")) == record(1)
    assert names(other.read()) == ["t1"]


def test_another_answer_is_refused_and_the_first_stands(store):
    log, other = opened(store), opened(store)
    log.append(record(1, grade=2))

    for place in (log, other):
        with pytest.raises(DoubledError) as refused:
            place.append(record(1, grade=0))
        assert refused.value.first == record(1, grade=2)
    assert [entry.record for entry in other.read()] == [record(1, grade=2)]


def test_compaction_moves_everything_and_changes_nothing(store):
    log = opened(store)
    for number in range(5):
        log.append(record(number))
    before = log.read()

    assert log.compact(least=6) == 0
    assert log.compact(least=5) == 5
    assert sorted(info.key for info in store.list(f"{PREFIX}ratings/")) == [
        f"{PREFIX}ratings/segments/00000001.jsonl"
    ]
    assert sorted(e.record.task_id for e in log.read()) == names(before)
    assert names(log.follow()) == names(before)
    log.append(record(9))
    assert log.compact(least=1) == 1
    assert names(opened(store).read()) == ["t0", "t1", "t2", "t3", "t4", "t9"]


def test_a_writer_that_slept_through_a_compaction_doubles_nothing(store):
    sleeper, log = opened(store), opened(store)
    log.append(record(1, grade=2))
    log.compact(least=1)

    with pytest.raises(DoubledError):
        sleeper.append(record(1, grade=0))
    assert sleeper.append(record(1, grade=2)) == record(1, grade=2)
    found = gather(opened(store), campaign="c", tasks=["t1"])
    assert [(r.task_id, r.grade) for r in found.valid] == [("t1", 2)]
    # The sleeper's object stays as evidence, compacted or not, and never counts.
    opened(store).compact(least=1)
    assert gather(opened(store), campaign="c", tasks=["t1"]).counts() == {"doubled": 1}


def test_two_compactions_at_once_double_nothing(store):
    log = opened(store)
    for number in range(40):
        log.append(record(number))
    logs = [opened(store) for _ in range(4)]
    threads = [threading.Thread(target=lambda x=x: x.compact(least=1)) for x in logs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = opened(store).read()
    assert len(entries) == 40
    assert {entry.reason for entry in entries} == {""}


@pytest.mark.parametrize("moment", ["before the segment", "after the segment", "while deleting"])
def test_a_compaction_that_dies_loses_and_doubles_nothing(store, moment, monkeypatch):
    log = opened(store)
    for number in range(6):
        log.append(record(number))
    deletions = 0

    def write(key, data, *, if_generation=None):
        if moment == "before the segment":
            raise ObjectStoreError("killed")
        return LocalStore.write(store, key, data, if_generation=if_generation)

    def delete(key, *, if_generation=None):
        nonlocal deletions
        deletions += 1
        if moment == "after the segment" or deletions == 4:
            raise ObjectStoreError("killed")
        LocalStore.delete(store, key, if_generation=if_generation)

    monkeypatch.setattr(store, "write", write)
    monkeypatch.setattr(store, "delete", delete)
    with pytest.raises(ObjectStoreError):
        log.compact(least=1)
    monkeypatch.undo()

    assert names(opened(store).read()) == [f"t{n}" for n in range(6)]
    assert (
        opened(store).compact(least=1)
        == {
            "before the segment": 6,
            "after the segment": 6,
            "while deleting": 3,
        }[moment]
    )
    assert names(opened(store).read()) == [f"t{n}" for n in range(6)]
    assert list(store.list(f"{PREFIX}ratings/new/")) == []


def test_an_answer_whose_acknowledgement_got_lost_is_there_once(store, monkeypatch):
    lost = []

    def write(key, data, *, if_generation=None):
        generation = LocalStore.write(store, key, data, if_generation=if_generation)
        if not lost:
            lost.append(key)
            raise OutcomeUnknownError("no answer")
        return generation

    monkeypatch.setattr(store, "write", write)
    assert opened(store).append(record(1)) == record(1)
    assert names(opened(store).read()) == ["t1"]


def test_many_at_once_go_into_segments_and_only_what_is_new(store, monkeypatch):
    monkeypatch.setattr(rating_log, "SEGMENT_RECORDS", 4)
    log = opened(store)
    log.append(record(0))

    assert log.append_many([record(n) for n in (0, 1, 2, 3, 4, 5, 5)]) == 5
    assert log.append_many([record(1, grade=0)]) == 0
    assert len(list(store.list(f"{PREFIX}ratings/segments/"))) == 2
    assert names(log.follow()) == names(opened(store).read()) == [f"t{n}" for n in range(6)]


def test_objects_that_cannot_be_read_are_counted_and_stay(store):
    log = opened(store)
    log.append(record(1))
    good = store.read(f"{PREFIX}ratings/new/{record(1).name}.json")[0]
    store.write(f"{PREFIX}ratings/new/cut.json", good[:40], if_generation=ABSENT)
    # The same answer under another name would count twice.
    store.write(f"{PREFIX}ratings/new/copy.json", good, if_generation=ABSENT)
    log.compact(least=1)

    found = gather(opened(store), campaign="c", tasks=["t1"])
    assert len(found.valid) == 1
    assert found.counts() == {"malformed": 1, "truncated": 1}
    assert len(list(store.list(f"{PREFIX}ratings/new/"))) == 2


WRITER = """
import sys
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import Record
from components.registry.local_store import LocalStore
root, rater = sys.argv[1:]
log = RatingLog(LocalStore(__import__("pathlib").Path(root)), "campaigns/demo/c/")
done = {entry.record.task_id for entry in log.follow() if entry.record.rater_id == rater}
for number in range(10**6):
    task = f"t{number}"
    if task not in done:
        log.append(Record(task, rater, 1, 1.0, "2026-11-22T12:00:00.000+00:00", "c", "web"))
        print(task, flush=True)
    if number % 7 == 0:
        log.compact(least=5)
"""


@pytest.mark.multiprocess
def test_killed_writers_and_compactions_keep_every_acknowledged_answer(tmp_path):
    root = tmp_path / "registry"
    acknowledged: set[tuple[str, str]] = set()
    for round_number in range(3):
        writers = {
            rater: subprocess.Popen(
                [sys.executable, "-c", WRITER, str(root), rater],
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[3],
            )
            for rater in ("ann", "bob", "cay")
        }
        time.sleep(1.2 + 0.13 * round_number)
        for rater, writer in writers.items():
            writer.kill()
            out, _ = writer.communicate()
            # The last line may be half a line.
            acknowledged.update((line, rater) for line in out.split("\n")[:-1])

    entries = opened(LocalStore(root)).read()
    kept = [(entry.record.task_id, entry.record.rater_id) for entry in entries]
    assert len(acknowledged) > 50
    assert acknowledged <= set(kept)
    assert len(kept) == len(set(kept))


@pytest.fixture
def gcs_store(monkeypatch):
    path = Path(__file__).parents[2] / "benchmarks" / "fake_gcs.py"
    spec = importlib.util.spec_from_file_location("fake_gcs", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fake_gcs", module)
    spec.loader.exec_module(module)
    with module.fake_gcs_server() as address:
        module.make_bucket(address, "lookalike-tests")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield open_store("gs://lookalike-tests/registry")


@pytest.mark.gcs
def test_the_log_on_google_cloud_storage(gcs_store):
    store = gcs_store
    log, other = opened(store), opened(store)
    for number in range(12):
        log.append(record(number))
    assert other.append(record(3)) == record(3)
    log.compact(least=1)
    with pytest.raises(DoubledError):
        RatingLog(store, PREFIX, backoff=SOON).append(record(3, grade=0))
    other.append_many([record(20), record(21)])

    found = gather(opened(store), campaign="c", tasks=[f"t{n}" for n in range(30)])
    assert len(found.valid) == 14
    assert found.counts() == {"doubled": 1}
    assert len(other.follow()) == 14
