from __future__ import annotations

import pytest

from components.contracts.catalog import Item, write_items
from serving import item_search
from serving.item_search import find_items
from serving.item_table import ItemTable

TITLES = ["Oak table", "Table lamp", "Über-Sofa", "oak lamp", "Straße 5", 'plain "quoted" thing']


@pytest.fixture
def items(tmp_path) -> ItemTable:
    write_items(
        tmp_path / "items.jsonl",
        [
            Item(f"sku-{number}", f"{number}.png", "0" * 64, "leaf", f"product-{number}", title)
            for number, title in enumerate(TITLES)
        ],
    )
    return ItemTable(tmp_path / "items.jsonl")


@pytest.mark.parametrize(
    ("words", "positions"),
    [
        ("table", [0, 1]),
        ("LAMP oak", [3]),
        ("über", [2]),
        ("ÜBER-sofa", [2]),
        ("sku-4", [4]),
        ("product-1 table", [1]),
        ('"quoted"', [5]),
        ("nothing", []),
        ("png", []),
        ("  ", []),
    ],
)
def test_every_word_must_be_in_id_product_or_title(items, words, positions):
    assert find_items(items, words, limit=10) == positions


def test_no_more_are_found_than_asked_for(items):
    assert len(find_items(items, "product", limit=2)) == 2


def test_an_item_across_two_pieces_is_found_once(items, monkeypatch):
    for size in range(1, 120, 7):
        monkeypatch.setattr(item_search, "_PIECE", size)
        assert find_items(items, "lamp", limit=10) == [1, 3]


def test_it_ends_in_time(items):
    assert find_items(items, "table", limit=10, seconds=-1.0) == []


def test_a_product_is_found_once(tmp_path):
    write_items(
        tmp_path / "views.jsonl",
        [Item(f"view-{n}", "a.png", "0" * 64, "leaf", "one", "Oak table") for n in range(3)],
    )
    assert find_items(ItemTable(tmp_path / "views.jsonl"), "table", limit=10) == [0]
