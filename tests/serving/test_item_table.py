from __future__ import annotations

import pytest

from components.contracts.catalog import Item, read_items, write_items
from components.contracts.errors import InputError
from serving.item_table import ItemTable

ITEMS = [
    Item("ä/1", "a.jpg", "h1", "sofa", "p1", 'Title, "quoted"\nand more', attributes={"c": "red"}),
    Item("b", "b.jpg", "h2", "lamp", "p2"),
    Item("c", "c.jpg", "h3", "sofa", "p1", traffic=2.5),
]


@pytest.fixture
def path(tmp_path):
    write_items(tmp_path / "items.jsonl", ITEMS)
    return tmp_path / "items.jsonl"


def test_it_holds_what_was_written(path):
    table = ItemTable(path)
    assert list(table) == ITEMS == read_items(path)
    assert table[-1] == ITEMS[2]
    assert table[:2] == ITEMS[:2]
    assert table.ids == ["ä/1", "b", "c"]
    assert table.products.tolist() == [0, 1, 0]
    assert [table.taxon_ids[code] for code in table.taxa] == ["sofa", "lamp", "sofa"]
    assert (table.position("c"), table.position("d")) == (2, None)
    assert "b" in table
    assert table.of_product(2) == [0, 2]


def test_a_last_line_without_a_newline_counts(path):
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert list(ItemTable(path)) == ITEMS


def test_an_empty_file_has_no_items(path):
    path.write_bytes(b"")
    assert len(ItemTable(path)) == 0


@pytest.mark.parametrize("line", [b"{}", b"nonsense", b"[]", b'{"item_id": 3}', b"\xff\xfe"])
def test_a_line_that_is_no_item_is_named(path, line):
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match="line 4: expected an item"):
        ItemTable(path)


def test_an_id_that_stands_there_twice_is_refused(path):
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InputError, match="found an id twice"):
        ItemTable(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"items\.jsonl: the items cannot be read"):
        ItemTable(tmp_path / "items.jsonl")
