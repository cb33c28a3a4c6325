from __future__ import annotations

import pytest

from components.contracts.catalog import Item, write_items
from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from serving.item_table import ItemTable
from serving.taxon_filter import TaxonFilter

TAXONOMY = Taxonomy.parse(
    b"taxon_id,parent_id,name,class_id,status,redirect\n"
    b"root,,All,0,active,\n"
    b"seat,root,Seating,1,active,\n"
    b"sofa,seat,Sofas,2,active,\n"
    b"lamp,root,Lamps,3,active,\n"
    b"couch,seat,Couches,4,retired,sofa\n"
    b"old,root,Old,5,retired,\n"
)


@pytest.fixture
def taxa(tmp_path):
    labels = ["sofa", "lamp", "seat", "gone", "root"]
    items = [Item(f"i{row}", "", "", label, f"p{row}") for row, label in enumerate(labels)]
    write_items(tmp_path / "items.jsonl", items)
    return TaxonFilter(TAXONOMY, ItemTable(tmp_path / "items.jsonl"))


@pytest.mark.parametrize(
    ("department", "taxon", "node"),
    [
        ("", "", ""),
        ("seat", "", "seat"),
        ("seating", "", "seat"),
        (" SEATING ", "", "seat"),
        ("", "sofa", "sofa"),
        ("", "couch", "sofa"),
        ("Seating", "sofa", "sofa"),
        ("", "root", ""),
        ("Lamps", "root", "lamp"),
    ],
)
def test_departments_and_taxa_are_understood(taxa, department, taxon, node):
    assert taxa.resolve(department, taxon) == node


@pytest.mark.parametrize(
    ("department", "taxon", "message"),
    [
        ("Tables", "", "expected one of Seating, Lamps"),
        ("sofa", "", "department 'sofa'"),
        ("", "table", "expected the id of a taxonomy's node"),
        ("", "old", "expected the id of a taxonomy's node"),
        ("Lamps", "sofa", "is not in department"),
    ],
)
def test_what_is_not_there_is_refused(taxa, department, taxon, message):
    with pytest.raises(InputError, match=message):
        taxa.resolve(department, taxon)


def test_a_part_holds_the_items_at_and_below_a_node(taxa):
    assert taxa.part("seat").rows.tolist() == [0, 2]
    assert taxa.part("sofa").rows.tolist() == [0]
    assert taxa.part("lamp").mask.tolist() == [False, True, False, False, False]
