import pytest

from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes
from components.registry.kept import Kept, KeptList
from components.registry.local_store import LocalStore
from components.registry.object_store import ObjectStoreError

HOUR = 3600.0


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "registry")


def kept(store, key="one"):
    return Kept(store, kind="embeddings", key=key)


def names(store):
    return {info.key for info in store.list("reuse/")}


def test_what_was_published_is_found_again(store):
    writer = kept(store)
    assert writer.read() == KeptList()
    file = writer.put(b"rows", {"rows": 2})
    assert kept(store).read() == KeptList(), "no list, nothing to find"
    assert writer.publish([file], {"rate": 5.5})
    found = kept(store).read()
    assert found.about == {"rate": 5.5}
    assert found.files == (file,)
    assert (file.sha256, file.size, file.about) == (sha256_bytes(b"rows"), 4, {"rows": 2})
    assert kept(store).fetch(file) == b"rows"
    assert kept(store, "other").read() == KeptList()


def test_a_flipped_byte_and_a_lost_file_are_noticed(store):
    writer = kept(store)
    flipped, lost = writer.put(b"rows", {}), writer.put(b"more", {})
    writer.publish([flipped, lost], {})
    path = store.root / f"reuse/embeddings/one/files/{flipped.sha256}"
    path.write_bytes(b"rowz")
    store.delete(f"reuse/embeddings/one/files/{lost.sha256}")
    reader = kept(store)
    assert reader.fetch(flipped) is None
    assert reader.fetch(lost) is None
    assert "another SHA-256" in reader.failures[0]
    assert "there is no" in reader.failures[1]


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"format": 1}', b'{"format": 1, "files": [{"x": 1}], "about": {}}']
)
def test_a_list_that_is_no_list_counts_for_nothing(store, text):
    store.write("reuse/embeddings/one/list.json", text)
    reader = kept(store)
    assert reader.read() == KeptList()
    assert "list.json: cannot be read" in reader.failures[0]


def test_a_list_of_another_release_counts_for_nothing(store):
    store.write("reuse/embeddings/one/list.json", b'{"format": 2, "things": []}')
    assert kept(store).read() == KeptList()


def test_what_left_is_collected_one_publication_later(store):
    writer = kept(store)
    old, new = writer.put(b"old", {}), writer.put(b"new", {})
    later = store.stat(f"reuse/embeddings/one/files/{new.sha256}").updated + 7 * HOUR
    writer.publish([old], {}, now=later)
    assert writer.fetch(new) is None, "named by no list for more than six hours"
    new = writer.put(b"new", {})
    writer.publish([new], {}, now=later)
    assert writer.fetch(old) == b"old", "somebody may be reading the list before"
    writer.publish([new], {}, now=later)
    assert names(store) == {
        "reuse/embeddings/one/list.json",
        f"reuse/embeddings/one/files/{new.sha256}",
    }


def test_a_file_of_a_run_that_goes_on_is_left_alone(store):
    running = kept(store).put(b"not published yet", {})
    other = kept(store)
    other.publish([other.put(b"done", {})], {})
    assert kept(store).fetch(running) == b"not published yet"


def test_only_the_newest_lists_of_a_kind_stay(store):
    for number in range(6):
        one = kept(store, f"k{number}")
        one.publish([one.put(b"rows", {})], {})
    assert {key.split("/")[2] for key in names(store)} == {"k2", "k3", "k4", "k5"}


def test_a_store_that_fails_stops_nobody(store, monkeypatch):
    def fail(*_, **__):
        raise ObjectStoreError("disk full")

    writer = kept(store)
    file = writer.put(b"rows", {})
    monkeypatch.setattr(store, "write", fail)
    assert writer.put(b"more", {}) is None
    assert not writer.publish([file], {})
    assert writer.failures == ["disk full", "disk full"]


@pytest.mark.parametrize("name", ["", "../up", "A", "a/b"])
def test_names_are_plain(store, name):
    with pytest.raises(InputError, match="plain name"):
        Kept(store, kind="embeddings", key=name)
