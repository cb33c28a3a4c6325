"""What only Google Cloud Storage can do wrong: refusals, lost, torn and spoilt answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google.auth
import pytest
from google.auth.exceptions import DefaultCredentialsError

from components.registry import gcs_store
from components.registry.backoff import Backoff
from components.registry.object_store import (
    ABSENT,
    ObjectNotFoundError,
    ObjectStore,
    ObjectStoreError,
    OutcomeUnknownError,
    PreconditionFailedError,
    RateLimitedError,
    open_store,
)
from components.registry.registry import Registry

pytestmark = [
    pytest.mark.gcs,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


@pytest.fixture
def faulty(gcs_proxy: Any, gcs_uri: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store behind the proxy `gcs_proxy`; it repeats at once what it repeats."""
    quick = gcs_store._RETRY.with_delay(initial=0.01, multiplier=1.0, maximum=0.01)
    monkeypatch.setattr(gcs_store, "_RETRY", quick.with_timeout(2.0))
    return open_store(gcs_uri)


def posts(proxy: Any) -> list[tuple[str, str]]:
    return [(path, fate) for method, path, fate in proxy.requests if method == "POST"]


def test_a_refused_write_is_not_repeated_and_was_not_made(
    faulty: ObjectStore, gcs_proxy: Any
) -> None:
    gcs_proxy.script = ["429"]
    with pytest.raises(RateLimitedError):
        faulty.write("k", b"1", if_generation=ABSENT)
    assert len(posts(gcs_proxy)) == 1
    with pytest.raises(ObjectNotFoundError):
        faulty.read("k")


@pytest.mark.parametrize("fate", ["500", "503", "lost", "torn"])
def test_a_write_without_an_answer_is_not_repeated(
    faulty: ObjectStore, gcs_proxy: Any, fate: str
) -> None:
    gcs_proxy.script = [fate]
    with pytest.raises(OutcomeUnknownError, match="perhaps written"):
        faulty.write("k", b"1", if_generation=ABSENT)
    assert len(posts(gcs_proxy)) == 1
    if fate in ("lost", "torn"):
        assert faulty.read("k")[0] == b"1"
    else:
        with pytest.raises(ObjectNotFoundError):
            faulty.read("k")


def test_a_slow_write_is_given_up(
    faulty: ObjectStore, gcs_proxy: Any, fake_gcs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_store, "_TIMEOUT_S", 0.2)
    gcs_proxy.faults = fake_gcs.Faults(slow_s=0.6)
    gcs_proxy.script = ["slow"]
    with pytest.raises(OutcomeUnknownError):
        faulty.write("k", b"1", if_generation=ABSENT)


@pytest.mark.parametrize("fate", ["429", "500", "503", "lost", "torn", "flipped"])
def test_reads_are_repeated_until_they_are_whole(
    faulty: ObjectStore, gcs_proxy: Any, fate: str, tmp_path: Path
) -> None:
    content = b"x" * 5000
    generation = faulty.write("k", content)
    gcs_proxy.script = [fate]
    assert faulty.read("k") == (content, generation)
    gcs_proxy.script = ["passed", fate]
    assert faulty.download_file("k", tmp_path / "file") == generation
    assert (tmp_path / "file").read_bytes() == content


def test_a_store_that_is_down_is_one_line(faulty: ObjectStore, gcs_proxy: Any) -> None:
    gcs_proxy.script = ["503"] * 10_000
    with pytest.raises(ObjectStoreError, match=r"does not answer .*; try again") as caught:
        faulty.read("k")
    assert "\n" not in str(caught.value)


def test_an_object_that_is_always_spoilt_is_refused(faulty: ObjectStore, gcs_proxy: Any) -> None:
    faulty.write("k", b"x" * 100)
    gcs_proxy.script = ["flipped"] * 100
    with pytest.raises(ObjectStoreError, match=r"does not answer|[Cc]hecksum"):
        faulty.read("k")


def test_preconditions_reach_the_store_on_every_kind_of_write(
    faulty: ObjectStore, gcs_proxy: Any, tmp_path: Path
) -> None:
    """The emulator ignores them on deletes and resumable uploads; the real store does not."""
    (tmp_path / "big").write_bytes(b"x" * (9 << 20))
    faulty.upload_file(tmp_path / "big", "big", if_generation=ABSENT)
    faulty.write("small", b"1", if_generation=ABSENT)
    faulty.delete("small", if_generation=12345)
    requests = gcs_proxy.requests
    resumable = [path for _, path, _ in requests if "uploadType=resumable" in path]
    multipart = [path for _, path, _ in requests if "uploadType=multipart" in path]
    deletes = [path for method, path, _ in requests if method == "DELETE"]
    for paths, condition in (
        (resumable[:1], "ifGenerationMatch=0"),
        (multipart, "ifGenerationMatch=0"),
        (deletes, "ifGenerationMatch=12345"),
    ):
        assert len(paths) == 1
        assert condition in paths[0]


def test_large_files_go_in_pieces_and_come_back(gcs_uri: str, tmp_path: Path) -> None:
    store = open_store(gcs_uri)
    content = bytes(range(256)) * (20 << 12)
    (tmp_path / "big").write_bytes(content)
    store.upload_file(tmp_path / "big", "big")
    assert b"".join(store.read_chunks("big")) == content
    store.download_file("big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_a_missing_bucket_is_named(gcs_uri: str) -> None:
    store = open_store("gs://no-such-bucket-here/x")
    for call in (
        lambda: list(store.list("")),
        lambda: store.write("k", b""),
    ):
        with pytest.raises(ObjectStoreError, match=r"no such bucket|there is no"):
            call()


@pytest.mark.parametrize("status", ["401", "403"])
def test_missing_permission_is_one_line(faulty: ObjectStore, gcs_proxy: Any, status: str) -> None:
    for call in (lambda: faulty.read("k"), lambda: faulty.write("k", b"")):
        gcs_proxy.script = [status] * 3
        with pytest.raises(ObjectStoreError, match="no permission for k") as caught:
            call()
        assert "\n" not in str(caught.value)
        gcs_proxy.script = []


def test_missing_credentials_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise DefaultCredentialsError("no credentials")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(ObjectStoreError, match="gcloud auth application-default login"):
        open_store("gs://bucket/prefix")


def test_a_registry_works_through_a_bad_day(
    gcs_proxy: Any, gcs_uri: str, fake_gcs: Any, tmp_path: Path, make_bundle: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    quick = gcs_store._RETRY.with_delay(initial=0.01, multiplier=1.5, maximum=0.1)
    monkeypatch.setattr(gcs_store, "_RETRY", quick)
    gcs_proxy.faults = fake_gcs.Faults(refused=0.1, lost=0.05, torn=0.05, seed=7)
    backoff = Backoff(first_s=0.01, cap_s=0.1, deadline_s=30.0)
    registry = Registry(open_store(gcs_uri), backoff)
    for version in ("v1", "v2", "v3"):
        registry.publish_bundle(make_bundle(tmp_path, version))
        registry.move("prod", to=version, who="a", why="b")
    registry.rollback("prod", who="a", why="b")
    assert [move.to for move in registry.history("prod")] == ["v2", "v3", "v2", "v1"]
    fates = {fate for _, _, fate in gcs_proxy.requests}
    assert {"lost", "torn"} <= fates
    gcs_proxy.faults = fake_gcs.Faults()
    for version in registry.versions():
        assert registry.verify(version) == []


def test_a_stale_generation_is_told_apart_from_a_lost_answer(faulty: ObjectStore) -> None:
    old = faulty.write("k", b"1")
    faulty.write("k", b"2")
    with pytest.raises(PreconditionFailedError):
        faulty.write("k", b"3", if_generation=old)
