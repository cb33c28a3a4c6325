import itertools

import numpy as np
import pytest

from components.contracts import near_duplicates
from components.contracts.errors import InputError
from components.contracts.fingerprint import FINGERPRINT_BYTES, HASH_BYTES
from components.contracts.near_duplicates import NearDuplicates, copies, groups, pairs


def made(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, FINGERPRINT_BYTES), np.uint8)


def flipped(row, bits):
    changed = row.copy()
    for bit in bits:
        changed[bit // 8] ^= np.uint8(128 >> bit % 8)
    return changed


def test_all_pairs_that_comparing_each_with_each_finds():
    rng = np.random.default_rng(1)
    base = made(300)
    near = [flipped(base[n], rng.choice(64, n % 9, replace=False)) for n in range(200)]
    prints = np.concatenate([base, near])
    expected = [
        [left, right]
        for left, right in itertools.combinations(range(len(prints)), 2)
        if np.bitwise_count(prints[left, :HASH_BYTES] ^ prints[right, :HASH_BYTES]).sum() <= 6
        and copies(prints[[left]], prints[[right]])[0]
    ]
    # Distances 0 to 6 of 0 to 8.
    assert len(expected) == sum(n % 9 <= 6 for n in range(200))
    assert pairs(prints).tolist() == expected


def test_the_same_hash_alone_makes_no_copy():
    prints = made(4)
    prints[1:, :HASH_BYTES] = prints[0, :HASH_BYTES]
    prints[1, HASH_BYTES:] = prints[0, HASH_BYTES:]
    prints[2] = prints[0]
    prints[2, HASH_BYTES] = (int(prints[0, HASH_BYTES]) + 100) % 256  # One mean colour.
    assert pairs(prints).tolist() == [[0, 1]]


def test_one_picture_for_ten_thousand_products_is_no_hundred_million_pairs(monkeypatch):
    # Compared by their hash they would be: what has one fingerprint is compared once.
    prints = np.repeat(made(2), 10_000, axis=0)
    found = pairs(prints)
    assert len(found) == 2 * 9_999
    assert set(found[:, 0].tolist()) == {0, 10_000}


def test_chunks_change_nothing(monkeypatch):
    base = made(50)
    prints = np.concatenate([base, [flipped(row, [3, 60]) for row in base]])
    whole = pairs(prints)
    assert len(whole) == 50
    monkeypatch.setattr(near_duplicates, "_VERIFIED_AT_ONCE", 7)
    np.testing.assert_array_equal(pairs(prints), whole)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    assert pairs(made(count)).shape == (0, 2)


def test_groups_join_what_hangs_together():
    assert groups([("b", "c"), ("x",), ("d", "e"), ("a", "b"), ("e", "f", "d")]) == (
        ("a", "b", "c"),
        ("d", "e", "f"),
    )
    assert groups([]) == ()


def test_the_file(tmp_path):
    path = tmp_path / "near_duplicates.json"
    assert NearDuplicates.read(path) == NearDuplicates()
    found = NearDuplicates((("i1", "i2"),), (("p1", "p2"),), (("q1", "i1"),))
    found.write(path)
    assert NearDuplicates.read(path) == found
    path.write_text('{"format": 99}')
    with pytest.raises(InputError, match="expected format 1; run the catalog step again"):
        NearDuplicates.read(path)
