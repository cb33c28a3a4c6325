from __future__ import annotations

import os

import pytest

from serving import disk_cache


@pytest.fixture
def cache(maker):
    """Three bundles of one registry, asked for one after the other."""
    root = maker.root / "cache"
    for number, version in enumerate(("v1", "v2", "v3")):
        target = root / "registry" / version
        target.parent.mkdir(parents=True, exist_ok=True)
        maker.bundle(version, encoder=False).rename(target)
        os.utime(target, (1000 + number, 1000 + number))
    return root


def names(root):
    return sorted(entry.name for entry in (root / "registry").iterdir())


def test_everything_stays_while_it_fits(cache):
    assert disk_cache.prune(cache, max_bytes=2**30, keep=()) == []
    assert names(cache) == ["v1", "v2", "v3"]


def test_the_oldest_go_first_and_what_is_in_use_stays(cache):
    keep = cache / "registry" / "v1"
    size = disk_cache._size(keep)
    removed = disk_cache.prune(cache, max_bytes=2 * size + 10, keep=[keep])
    assert [entry.name for entry in removed] == ["v2"]
    assert names(cache) == ["v1", "v3"]


def test_what_is_in_use_stays_whatever_it_takes(cache):
    keep = [cache / "registry" / "v1", cache / "registry" / "v3"]
    disk_cache.prune(cache, max_bytes=1, keep=keep)
    assert names(cache) == ["v1", "v3"]


def test_what_a_killed_download_left_goes_when_it_is_old(cache):
    old, new = cache / "registry" / ".v4.abc", cache / "registry" / ".v5.abc"
    for folder in (old, new, cache / "registry" / ".state"):
        folder.mkdir()
        (folder / "part").write_bytes(b"x")
    os.utime(old, (1000, 1000))
    os.utime(cache / "registry" / ".state", (1000, 1000))
    disk_cache.prune(cache, max_bytes=2**30, keep=())
    assert names(cache) == [".state", ".v5.abc", "v1", "v2", "v3"]
