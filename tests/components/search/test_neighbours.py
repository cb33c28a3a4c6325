from __future__ import annotations

import numpy as np
import pytest

from components.contracts.errors import InputError
from components.search import neighbours
from components.search.neighbours import NeighbourTable
from components.search.searcher import ExactSearcher


def at(*degrees):
    """Returns unit vectors in the plane."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def made(vectors, tmp_path):
    searcher = ExactSearcher(vectors)
    assert neighbours.write(searcher, vectors, tmp_path)
    table = NeighbourTable.load(tmp_path, searcher, vectors)
    assert table is not None
    return table


def test_a_row_holds_the_others_nearest_first_with_their_cosines(tmp_path):
    table = made(at(0, 10, 30, 90), tmp_path)
    assert table.width == 3
    found, cosines = table.row(1)
    assert found.tolist() == [0, 2, 3]
    assert cosines.tolist() == pytest.approx(
        [np.cos(np.deg2rad(angle)) for angle in (10, 20, 80)], abs=1e-6
    )
    assert table.row(3)[0].tolist() == [2, 1, 0]


def test_an_item_whose_picture_is_that_of_another_is_not_its_own_neighbour(tmp_path):
    table = made(at(0, 0, 0, 45), tmp_path)
    for item in range(3):
        found, cosines = table.row(item)
        assert item not in found
        assert set(found[:2].tolist()) == {0, 1, 2} - {item}
        assert cosines[:2].tolist() == pytest.approx([1, 1], abs=1e-6)


def test_an_item_that_the_search_misses_loses_its_last_neighbour(tmp_path):
    vectors = at(0, 10, 30, 90)

    class Forgetful(ExactSearcher):
        def search(self, vectors, k):
            found, cosines = super().search(vectors, k)
            return np.roll(found, -1, axis=1), np.roll(cosines, -1, axis=1)

    # The item itself comes last here, and is the one that goes.
    neighbours.write(Forgetful(vectors), vectors, tmp_path)
    assert np.load(tmp_path / neighbours.NEIGHBOURS_FILE)[0].tolist() == [1, 2, 3]

    class Blind(ExactSearcher):
        def search(self, vectors, k):
            found, cosines = super().search(vectors, k + 1)
            return found[:, 1:], cosines[:, 1:]

    vectors = at(*range(60))
    neighbours.write(Blind(vectors), vectors, tmp_path)
    rows = np.load(tmp_path / neighbours.NEIGHBOURS_FILE)
    assert rows.shape == (60, 50)
    assert rows[0].tolist() == list(range(1, 51))


def test_there_is_none_for_one_item_nor_for_too_many(tmp_path, monkeypatch):
    one = at(0)
    assert not neighbours.write(ExactSearcher(one), one, tmp_path)
    assert NeighbourTable.load(tmp_path, ExactSearcher(one), one) is None
    monkeypatch.setattr(neighbours, "MOST_EXACT", 3)
    many = at(0, 1, 2, 3)
    assert not neighbours.write(ExactSearcher(many), many, tmp_path)


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    vectors = at(*range(0, 90, 4))
    whole = made(vectors, tmp_path)
    rows = np.load(tmp_path / neighbours.NEIGHBOURS_FILE)
    monkeypatch.setattr(neighbours, "_AT_ONCE", 5)
    made(vectors, tmp_path)
    assert np.array_equal(rows, np.load(tmp_path / neighbours.NEIGHBOURS_FILE))
    assert whole.width == 22


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[:-1], "expected int32 and float32"),
        (lambda rows: rows.astype(np.int64), "found int64"),
        (lambda rows: rows + 1000, "expected int32 and float32"),
        (lambda rows: np.roll(rows, 90, axis=0), "the table is of another build"),
        (lambda rows: rows.astype(object), "expected a table of neighbours"),
    ],
)
def test_what_is_no_table_of_this_index_is_refused(tmp_path, spoil, message):
    vectors = at(*range(0, 360, 2))
    made(vectors, tmp_path)
    path = tmp_path / neighbours.NEIGHBOURS_FILE
    np.save(path, spoil(np.load(path)), allow_pickle=True)
    with pytest.raises(InputError, match=message):
        NeighbourTable.load(tmp_path, ExactSearcher(vectors), vectors)


def test_half_a_table_is_refused(tmp_path):
    vectors = at(0, 10, 30)
    made(vectors, tmp_path)
    (tmp_path / neighbours.SCORES_FILE).unlink()
    with pytest.raises(InputError, match="expected a table of neighbours"):
        NeighbourTable.load(tmp_path, ExactSearcher(vectors), vectors)
