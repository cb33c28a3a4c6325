import pytest

from components.catalog.config import CatalogConfig
from components.catalog.proposals import Candidate, candidates_of, normalised
from components.catalog.tables import Table
from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy

TREE = Taxonomy.parse(
    b"taxon_id,parent_id,name,status,redirect\nroot,,All,,\nseating,root,Seating,,\n"
    b"chairs,root,Chairs,retired,seating\nsofa,seating,Sofas,,\nbar-stool,root,Lamps,,\n"
)


def propose(rows, *, unreliable=(), header=("item", "worker", "parent", "name"), **settings):
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = Table("p.csv", dict(zip(header, columns, strict=True)), list(range(2, len(rows) + 2)))
    options = {"proposal_workers": 3, "proposal_items": 2, "proposal_agreement": 0.6, **settings}
    return candidates_of(
        table,
        taxonomy=TREE,
        known={"i0", "i1", "i2"},
        unreliable=unreliable,
        config=CatalogConfig(**options),
    )


ROWS = [
    ("i0", "a", "seating", "Bar stools"),
    ("i0", "b", "seating", "bar-stool"),
    ("i1", "c", "seating", "Bar stools"),
    ("i1", "d", "seating", "Ottomans"),
]


def test_one_name_in_many_spellings_is_one_candidate():
    found, rejects = propose(ROWS)
    # Three of the four proposals for those two items; the id bar-stool is taken.
    assert found == [Candidate("bar-stool-2", "seating", "Bar stools", 3, 2, 0.75, ("i0", "i1"))]
    assert rejects == []


@pytest.mark.parametrize(
    "settings", [{"proposal_workers": 4}, {"proposal_items": 3}, {"proposal_agreement": 0.76}]
)
def test_each_threshold_counts(settings):
    assert propose(ROWS, **settings)[0] == []


def test_one_busy_worker_is_no_crowd():
    rows = [(f"i{n}", "a", "seating", "Bar stools") for n in range(3)]
    assert propose(rows + rows)[0] == []


def test_a_worker_set_aside_does_not_count():
    found, rejects = propose(ROWS, unreliable={"b"})
    assert found == []
    assert [(reject.row, reject.reason) for reject in rejects] == [(3, "unreliable_worker")]


def test_what_cannot_be_used_is_set_aside_with_its_reason():
    rows = [
        ("nothing", "a", "seating", "Stools"),
        ("i0", "", "seating", "Stools"),
        ("i0", "a", "nowhere", "Stools"),
        ("i0", "a", "seating", " - "),
        ("i0", "a", "seating", "sofa"),
        ("i0", "a", "seating", "Stools"),
        ("i0", "a", "seating", "Poufs"),
        # The parent is merged into seating: the same worker, item and parent once more.
        ("i0", "a", "chairs", "Benches"),
    ]
    _, rejects = propose(rows)
    assert [(reject.row, reject.reason) for reject in rejects] == [
        (2, "unknown_item"),
        (3, "empty_id"),
        (4, "unknown_taxon"),
        (5, "bad_name"),
        (6, "name_taken"),
        (8, "duplicate_proposal"),
        (9, "duplicate_proposal"),
    ]


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="expected a column parent_id or parent, received item"):
        propose(ROWS, header=("item", "worker", "above", "name"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Bar-Stools", "bar  stool"),
        ("Étagères", "etagere"),
        ("Benches", "bench"),
        ("Canopies", "canopy"),
        ("Boxes", "Box"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("Glass", "Gla"), ("Bus", "Bu"), ("Cup", "Cap")])
def test_different_names_stay_different(one, other):
    assert normalised(one) != normalised(other)
