import numpy as np
import pytest

from components.catalog.config import CatalogConfig
from components.catalog.labels import label_items
from components.catalog.tables import Table
from components.catalog.votes import encode
from components.contracts.taxonomy import Taxonomy

TREE = Taxonomy.parse(
    b"taxon_id,parent_id,name\nroot,,All\nseating,root,Seating\nlamps,root,Lamps\n"
    b"chair,seating,Chairs\nsofa,seating,Sofas\nstool,seating,Stools\n"
    b"table-lamp,lamps,Table lamps\nfloor-lamp,lamps,Floor lamps\n"
)


def encoded(rows, tree=TREE):
    items, workers, nodes = (list(column) for column in zip(*rows, strict=True))
    table = Table(
        "votes.csv",
        {"item_id": items, "worker_id": workers, "taxon_id": nodes},
        list(range(2, len(rows) + 2)),
    )
    votes, rejects = encode(
        table, taxonomy=tree, item_column="item_id", known=dict.fromkeys(items, True)
    )
    assert not rejects
    return votes


def crowd(rows, curated=None, tree=TREE, **settings):
    votes = encoded(rows, tree)
    return label_items(
        votes, taxonomy=tree, curated=curated or {}, config=CatalogConfig(**settings)
    )


def test_agreement_is_the_label():
    label = crowd([("i", f"w{n}", "chair") for n in range(3)]).labels["i"]
    assert label.taxon_id == label.best == "chair"
    assert label.confidence > 0.99
    assert label.votes == 3


def test_an_even_split_within_a_department_gives_the_department():
    rows = [("i", "a", "chair"), ("i", "b", "sofa")]
    rows += [("j", "a", "stool"), ("j", "b", "stool")]
    label = crowd(rows).labels["i"]
    assert label.taxon_id == "seating"
    assert label.confidence > 0.99
    assert label.best_probability == pytest.approx(0.5, abs=1e-6)


def test_an_even_split_between_departments_gives_the_root_without_confidence():
    label = crowd([("i", "a", "chair"), ("i", "b", "table-lamp")]).labels["i"]
    assert (label.taxon_id, label.confidence) == ("root", 0.0)


def test_a_vote_for_a_department_supports_its_leaves_and_is_enough_alone():
    labels = crowd(
        [("i", "a", "seating"), ("i", "b", "chair"), ("j", "a", "lamps"), ("j", "b", "lamps")]
    ).labels
    assert labels["i"].taxon_id == "chair"
    assert labels["i"].confidence > 0.99
    assert labels["j"].taxon_id == "lamps"


def test_a_vote_for_the_root_says_nothing():
    labels = crowd([("i", "a", "root"), ("i", "b", "chair"), ("j", "a", "root")]).labels
    assert labels["i"].taxon_id == "chair"
    assert (labels["j"].taxon_id, labels["j"].confidence) == ("root", 0.0)


def test_the_reliable_worker_beats_two_who_guess():
    chance = np.random.default_rng(5)
    leaves = list(TREE.leaves)
    rows = []
    for n in range(60):
        truth = leaves[n % 5]
        rows += [(f"i{n}", worker, truth) for worker in ("good-1", "good-2", "good-3")]
        rows += [(f"i{n}", f"guess-{k}", str(chance.choice(leaves))) for k in range(2)]
    # Two guessers agree by chance against one good worker.
    rows += [("disputed", "good-1", "chair")]
    rows += [("disputed", f"guess-{k}", "table-lamp") for k in range(2)]
    result = crowd(rows)
    assert result.labels["disputed"].taxon_id == "chair"
    reliability = {worker.worker_id: worker.reliability for worker in result.workers}
    assert min(reliability[f"good-{k}"] for k in (1, 2, 3)) > 0.95
    assert max(reliability[f"guess-{k}"] for k in (0, 1)) < 0.5
    assert result.workers[0].worker_id.startswith("guess")


def test_agreement_with_the_curator_counts_ancestors_as_right():
    rows = [
        ("i", "a", "chair"),
        ("j", "a", "seating"),
        ("k", "a", "floor-lamp"),
        ("l", "a", "sofa"),
    ]
    (worker,) = crowd(rows, curated={"i": "chair", "j": "sofa", "k": "table-lamp"}).workers
    assert worker.votes == 4
    assert worker.agreement == pytest.approx(2 / 3, abs=1e-4)
    (worker,) = crowd(rows).workers
    assert worker.agreement is None


def test_no_votes_no_labels():
    table = Table("v", {"item_id": [], "worker_id": [], "taxon_id": []}, [])
    votes, _ = encode(table, taxonomy=TREE, item_column="item_id", known={})
    result = label_items(votes, taxonomy=TREE, curated={}, config=CatalogConfig())
    assert (result.labels, result.workers) == ({}, ())


def test_leaves_at_different_depths():
    tree = Taxonomy.parse(
        b"taxon_id,parent_id,name\nroot,,All\nrugs,root,Rugs\nseating,root,Seating\n"
        b"chairs,seating,Chairs\noffice,chairs,Office chairs\ndining,chairs,Dining chairs\n"
        b"sofa,seating,Sofas\n"
    )
    rows = [(f"i{n}", f"w{w}", "rugs") for n in range(5) for w in range(3)]
    rows += [
        ("x", "w0", "office"),
        ("x", "w1", "dining"),
        ("y", "w0", "sofa"),
        ("y", "w1", "sofa"),
    ]
    labels = crowd(rows, tree=tree).labels
    assert labels["i0"].taxon_id == "rugs"
    assert labels["x"].taxon_id == "chairs"
    assert labels["y"].taxon_id == "sofa"


def test_a_vote_for_a_merged_node_counts_for_the_one_that_took_its_place():
    tree = Taxonomy.parse(
        b"taxon_id,parent_id,name,status,redirect\nroot,,All,,\nsofa,root,Sofas,,\n"
        b"lamp,root,Lamps,,\ndivan,root,Divans,retired,sofa\ncouch,root,Couches,retired,divan\n"
    )
    label = crowd([("i", "a", "couch"), ("i", "b", "sofa"), ("i", "c", "divan")], tree=tree)
    assert label.labels["i"].taxon_id == "sofa"
    assert label.labels["i"].votes == 3
