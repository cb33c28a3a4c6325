from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from components.contracts.bundle import read_manifest, verify
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import sha256_file
from components.registry.object_store import ObjectStoreError
from components.registry.registry import Registry
from serving.sources import ChannelSource, DirectorySource, Fetched

GIB = 2**30


@pytest.fixture
def registry(maker):
    registry = Registry.open(str(maker.root / "registry"))
    registry.publish_bundle(maker.bundle("v1", encoder=False))
    return registry


def test_a_directory_is_served_from_where_it_lies(maker):
    directory = maker.bundle("v7", encoder=False)
    source = DirectorySource(directory)
    assert (source.live(), source.fetch("v7")) == ("v7", Fetched(directory))
    with pytest.raises(InputError, match=r"manifest\.json"):
        DirectorySource(maker.root)


def test_an_empty_channel_says_what_to_do(registry, tmp_path):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    with pytest.raises(LookalikeError, match="no live bundle; run the pipeline"):
        source.live()
    registry.move("demo", to="v1", who="test", why="first")
    assert source.live() == "v1"


def test_a_bundle_is_downloaded_once_and_repaired_when_the_cache_is_damaged(registry, tmp_path):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    fetched = source.fetch("v1")
    directory = fetched.directory
    assert verify(directory) == []
    assert fetched.verified == sha256_file(directory / "manifest.json")
    inode = (directory / "items.jsonl").stat().st_ino
    assert source.fetch("v1") == fetched
    assert (directory / "items.jsonl").stat().st_ino == inode
    (directory / "items.jsonl").write_text("")
    assert source.fetch("v1") == fetched
    assert verify(directory) == []


def test_a_warm_start_reads_a_bundle_once(registry, tmp_path, monkeypatch):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    source.fetch("v1")
    read = Counter()

    def counted(path):
        read[path.name] += 1
        return sha256_file(path)

    monkeypatch.setattr("components.contracts.bundle.sha256_file", counted)
    monkeypatch.setattr("components.registry.publish.sha256_file", counted)
    fetched = source.fetch("v1")
    assert read["vectors.npy"] == read["items.jsonl"] == 1
    assert fetched.verified


def test_the_last_good_version_outlives_the_server(registry, tmp_path):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    assert source.last_good() == ""
    source.fetch("v1")
    source.note_good("v1")
    again = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    assert again.last_good() == "v1"
    other = ChannelSource(registry.uri, "other", tmp_path / "cache", max_bytes=GIB)
    assert other.last_good() == ""
    (source.state / "live-demo.json").write_text("broken")
    assert again.last_good() == ""


def test_without_the_registry_a_whole_bundle_of_the_cache_is_good(registry, tmp_path, monkeypatch):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    fetched = source.fetch("v1")

    def away(*_):
        raise ObjectStoreError("away")

    monkeypatch.setattr(type(registry.store), "read", away)
    assert source.fetch("v1") == fetched
    (fetched.directory / "items.jsonl").write_text("")
    with pytest.raises(LookalikeError):
        source.fetch("v1")


def test_where_the_registry_s_folder_is_not_mounted_what_was_kept_is_good_if_whole(
    registry, tmp_path
):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    fetched = source.fetch("v1")
    Path(registry.uri).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="there is no version 'v1'"):
        source.fetch("v1")
    assert source.fetch("v1", kept=True) == fetched
    (fetched.directory / "items.jsonl").write_text("")
    with pytest.raises(InputError, match="there is no version 'v1'"):
        source.fetch("v1", kept=True)


def test_two_registries_do_not_share_a_version(registry, maker, tmp_path):
    other = Registry.open(str(maker.root / "other"))
    other.publish_bundle(maker.root / "bundles" / "v1")
    cache = tmp_path / "cache"
    first = ChannelSource(registry.uri, "demo", cache, max_bytes=GIB).fetch("v1")
    assert first != ChannelSource(other.uri, "demo", cache, max_bytes=GIB).fetch("v1")


def test_one_registry_has_one_place_however_it_is_called(registry, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    absolute = ChannelSource(registry.uri, "demo", cache, max_bytes=GIB).fetch("v1")
    monkeypatch.chdir(tmp_path)
    assert ChannelSource("registry", "demo", cache, max_bytes=GIB).fetch("v1") == absolute


def test_bundles_that_were_asked_for_the_longest_ago_make_room(registry, maker, tmp_path):
    versions = [f"w{number}" for number in range(4)]
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=GIB)
    for number, version in enumerate(versions):
        registry.publish_bundle(maker.bundle(version, encoder=False))
        directory = source.fetch(version).directory
        os.utime(directory, (1000 + number, 1000 + number))
    size = sum(entry.size for entry in read_manifest(directory).files.values())
    source.note_good("w0")
    # Room for two beside what is in use: w0 was served last, v1 is asked for.
    small = ChannelSource(registry.uri, "demo", tmp_path / "cache", max_bytes=4 * size + 10)
    small.fetch("v1")
    kept = sorted(entry.name for entry in directory.parent.iterdir() if entry.name != ".state")
    assert kept == ["v1", "w0", "w2", "w3"]
