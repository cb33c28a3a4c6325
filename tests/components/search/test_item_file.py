import numpy as np
import pytest

from components.contracts.catalog import Item, write_items
from components.contracts.errors import InputError
from components.search import item_file
from components.search.item_file import ItemFile, open_items
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher


def items_of(count):
    return [
        Item(f"i{n}", f"/images/{n}.jpg", "h", "täxon", f"p{n // 3}", attributes={"colour": "röt"})
        for n in range(count)
    ]


def test_items_in_their_file_are_the_same_items(tmp_path):
    items = items_of(50)
    write_items(tmp_path / "items.jsonl", items)
    found = ItemFile(tmp_path / "items.jsonl")
    assert len(found) == 50
    assert list(found) == items
    assert found[7] == items[7]
    assert found[-1] == items[-1]
    assert found[40:60:5] == tuple(items[40:60:5])
    for outside in (50, -51):
        with pytest.raises(IndexError):
            found[outside]


def test_many_items_stay_in_their_file(tmp_path, monkeypatch):
    path = tmp_path / "items.jsonl"
    write_items(path, items_of(10))
    assert open_items(path) == tuple(items_of(10))
    monkeypatch.setattr(item_file, "_MOST_IN_MEMORY", 100)
    assert isinstance(open_items(path), ItemFile)


def test_answers_over_a_file_are_the_same(tmp_path):
    items = items_of(40)
    write_items(tmp_path / "items.jsonl", items)
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    searcher = ExactSearcher(vectors)
    in_memory = BundleIndex(items, vectors, searcher)
    in_file = BundleIndex(ItemFile(tmp_path / "items.jsonl"), vectors, searcher)
    asked = {"k": 5, "exclude_products": [["p1"], []]}
    assert in_file.answer(vectors[:2], **asked) == in_memory.answer(vectors[:2], **asked)
    assert "i7" in in_file
    assert in_file.position("i7") == 7
    assert in_file.searched_by(searcher).item("i8") == items[8]


def test_what_is_no_item_is_refused_by_its_line(tmp_path):
    path = tmp_path / "items.jsonl"
    with pytest.raises(InputError, match="JSON-lines file of items"):
        ItemFile(path)
    path.write_text("")
    with pytest.raises(InputError, match="JSON-lines file of items"):
        ItemFile(path)
    write_items(path, items_of(1))
    path.write_text(path.read_text() + '{"colour": "red"}\nnonsense\n')
    for row in (1, 2):
        with pytest.raises(InputError, match=f"line {row + 1}"):
            ItemFile(path)[row]
