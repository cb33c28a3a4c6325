from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts.bundle import verify
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import sha256_file
from components.registry import publish
from components.registry.object_store import ObjectStore
from components.registry.publish import BundleError
from components.registry.registry import Registry

Make = Callable[..., Path]


@pytest.fixture
def registry(store: ObjectStore) -> Registry:
    """An empty registry on each kind of store."""
    return Registry(store)


def test_what_is_published_comes_back_whole(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    built = make_bundle(tmp_path, "v1")
    assert registry.publish_bundle(built) == "v1"
    assert registry.versions() == ["v1"]
    manifest, digest = registry.manifest("v1")
    assert digest == sha256_file(built / "manifest.json")
    assert registry.download_bundle("v1", tmp_path / "down" / "v1") == tmp_path / "down" / "v1"
    assert verify(tmp_path / "down" / "v1", manifest) == []
    assert [path.name for path in (tmp_path / "down").iterdir()] == ["v1"]
    assert list(registry.store.list("claims/")) == []


def test_publishing_again_does_nothing_and_another_content_is_refused(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    built = make_bundle(tmp_path / "one", "v1")
    registry.publish_bundle(built)
    before = [info.generation for info in registry.store.list("bundles/")]
    registry.publish_bundle(built)
    assert [info.generation for info in registry.store.list("bundles/")] == before
    with pytest.raises(LookalikeError, match="published already with another content"):
        registry.publish_bundle(make_bundle(tmp_path / "two", "v1", content="other"))
    assert registry.verify("v1") == []


def test_a_damaged_directory_is_not_published(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    built = make_bundle(tmp_path, "v1")
    (built / "index" / "vectors.npy").write_text("x")
    (built / "extra").write_text("x")
    with pytest.raises(BundleError, match=r"index/vectors.npy: expected .* extra: not in"):
        registry.publish_bundle(built)
    assert list(registry.store.list("")) == []


def test_the_manifest_comes_last_and_a_half_upload_is_invisible(
    registry: Registry, tmp_path: Path, make_bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = make_bundle(tmp_path / "one", "v1")
    upload = type(registry.store).upload_file
    uploads: list[str] = []

    def fail_at_third(self: ObjectStore, path: Path, key: str, **condition: int) -> int:
        uploads.append(key)
        if len(uploads) == 3:
            raise RuntimeError("killed")
        return upload(self, path, key, **condition)

    monkeypatch.setattr(type(registry.store), "upload_file", fail_at_third)
    with pytest.raises(RuntimeError):
        registry.publish_bundle(built)
    assert list(registry.store.list("bundles/"))
    assert registry.versions() == []
    with pytest.raises(InputError, match="there is no version 'v1'"):
        registry.manifest("v1")
    # Another build of that version takes over what the dead one left.
    other = make_bundle(tmp_path / "two", "v1", content="another build")
    registry.publish_bundle(other)
    assert registry.verify("v1") == []
    assert registry.manifest("v1")[1] == sha256_file(other / "manifest.json")


def test_another_host_publishing_the_version_is_respected(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    claim = {"digest": "d" * 64, "host": "elsewhere", "pid": 1}
    registry.store.write("claims/v1.json", json.dumps(claim).encode())
    with pytest.raises(LookalikeError, match="published or removed by process 1 on elsewhere"):
        registry.publish_bundle(make_bundle(tmp_path, "v1"))
    assert registry.versions() == []


def test_a_condemned_version_is_neither_published_nor_promoted(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    registry.publish_bundle(make_bundle(tmp_path, "v1"))
    for version in ("v1", "v2"):
        registry.store.write(publish.condemned_key(version), b"{}")
    with pytest.raises(LookalikeError, match="gc is removing it"):
        registry.publish_bundle(make_bundle(tmp_path, "v2"))
    with pytest.raises(LookalikeError, match="v1 is being removed by gc"):
        registry.move("prod", to="v1", who="a", why="b")


def test_downloads_only_what_is_asked_for(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    registry.publish_bundle(make_bundle(tmp_path, "v1"))
    target = registry.download_bundle("v1", tmp_path / "part", paths=["encoder/", "taxonomy.csv"])
    found = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
    assert found == ["encoder/encoder.json", "manifest.json", "taxonomy.csv"]
    # A part can be completed, and what is whole is left as it is.
    registry.download_bundle("v1", target)
    assert verify(target) == []
    stamp = (target / "items.jsonl").stat().st_ino
    registry.download_bundle("v1", target)
    assert (target / "items.jsonl").stat().st_ino == stamp
    with pytest.raises(InputError, match="no file that starts with 'golden/'"):
        registry.download_bundle("v1", tmp_path / "none", paths=["golden/"])


def test_a_damaged_download_leaves_nothing(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    registry.publish_bundle(make_bundle(tmp_path, "v1"))
    registry.store.write("bundles/v1/index/vectors.npy", b"flipped")
    with pytest.raises(BundleError, match=r"index/vectors\.npy: expected SHA-256"):
        registry.download_bundle("v1", tmp_path / "down" / "v1")
    registry.store.delete("bundles/v1/taxonomy.csv")
    with pytest.raises(BundleError):
        registry.download_bundle("v1", tmp_path / "down" / "v1")
    assert list((tmp_path / "down").iterdir()) == []


def test_never_overwrites_a_directory_that_is_no_bundle(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    registry.publish_bundle(make_bundle(tmp_path, "v1"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    with pytest.raises(InputError, match="is not a bundle"):
        registry.download_bundle("v1", tmp_path / "mine")
    assert (tmp_path / "mine" / "precious").read_text() == "x"


def test_verify_lists_all_that_is_wrong(
    registry: Registry, tmp_path: Path, make_bundle: Make
) -> None:
    registry.publish_bundle(make_bundle(tmp_path, "v1"))
    same_size = b"y" * registry.store.stat("bundles/v1/index/vectors.npy").size
    registry.store.write("bundles/v1/index/vectors.npy", same_size)
    registry.store.write("bundles/v1/items.jsonl", b"short")
    registry.store.delete("bundles/v1/taxonomy.csv")
    registry.store.write("bundles/v1/added", b"")
    problems = registry.verify("v1")
    assert [problem.split(":")[0] for problem in problems] == [
        "index/vectors.npy",
        "items.jsonl",
        "taxonomy.csv",
        "added",
    ]
    assert "SHA-256" in problems[0]
    # Without reading contents, only names and sizes can be told.
    assert len(registry.verify("v1", contents=False)) == 3


@pytest.mark.parametrize("content", [b"{", b"{}", b"[1]", b'{"schema": 9}'])
def test_an_unreadable_manifest_is_named(
    registry: Registry, tmp_path: Path, make_bundle: Make, content: bytes
) -> None:
    registry.publish_bundle(make_bundle(tmp_path, "v1"))
    registry.store.write("bundles/v1/manifest.json", content)
    with pytest.raises(BundleError, match=r"bundles/v1/manifest\.json"):
        registry.manifest("v1")
