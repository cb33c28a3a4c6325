from __future__ import annotations

import os

import pytest

from components.contracts.bundle import verify
from components.contracts.errors import InputError, LookalikeError
from components.registry.registry import Registry
from serving.sources import KEPT_BUNDLES, ChannelSource, DirectorySource


@pytest.fixture
def registry(maker):
    registry = Registry.open(str(maker.root / "registry"))
    registry.publish_bundle(maker.bundle("v1", encoder=False))
    return registry


def test_a_directory_is_served_from_where_it_lies(maker):
    directory = maker.bundle("v7", encoder=False)
    source = DirectorySource(directory)
    assert (source.live(), source.fetch("v7")) == ("v7", directory)
    with pytest.raises(InputError, match=r"manifest\.json"):
        DirectorySource(maker.root)


def test_an_empty_channel_says_what_to_do(registry, tmp_path):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache")
    assert source.live() == ""
    with pytest.raises(LookalikeError, match="no live bundle; run the pipeline"):
        source.require_live()
    registry.move("demo", to="v1", who="test", why="first")
    assert source.require_live() == source.live() == "v1"


def test_a_bundle_is_downloaded_once_and_repaired_when_the_cache_is_damaged(registry, tmp_path):
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache")
    directory = source.fetch("v1")
    assert verify(directory) == []
    inode = (directory / "items.jsonl").stat().st_ino
    assert source.fetch("v1") == directory
    assert (directory / "items.jsonl").stat().st_ino == inode
    (directory / "items.jsonl").write_text("")
    assert verify(source.fetch("v1")) == []


def test_two_registries_do_not_share_a_version(registry, maker, tmp_path):
    other = Registry.open(str(maker.root / "other"))
    other.publish_bundle(maker.root / "bundles" / "v1")
    cache = tmp_path / "cache"
    first = ChannelSource(registry.uri, "demo", cache).fetch("v1")
    assert first != ChannelSource(other.uri, "demo", cache).fetch("v1")


def test_one_registry_has_one_place_however_it_is_called(registry, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    absolute = ChannelSource(registry.uri, "demo", cache).fetch("v1")
    monkeypatch.chdir(tmp_path)
    assert ChannelSource("registry", "demo", cache).fetch("v1") == absolute


def test_only_the_bundles_that_were_asked_for_last_are_kept(registry, maker, tmp_path):
    versions = [f"w{number}" for number in range(KEPT_BUNDLES + 1)]
    source = ChannelSource(registry.uri, "demo", tmp_path / "cache")
    for number, version in enumerate(versions):
        registry.publish_bundle(maker.bundle(version, encoder=False))
        directory = source.fetch(version)
        os.utime(directory, (1000 + number, 1000 + number))
        if number == 1:
            # The oldest is asked for again: the second oldest goes in its place.
            source.fetch(versions[0])
    assert sorted(entry.name for entry in directory.parent.iterdir()) == ["w0", "w2", "w3", "w4"]
