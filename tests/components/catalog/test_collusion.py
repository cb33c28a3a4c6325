import numpy as np
import pytest

from components.catalog.collusion import _poisson_tail, colluders
from components.catalog.config import CatalogConfig
from components.catalog.labels import label_items
from components.catalog.tables import Table
from components.catalog.votes import encode, node_paths
from components.contracts.taxonomy import Taxonomy

LEAVES = 12
TREE = Taxonomy.parse(
    (
        "taxon_id,parent_id,name\nroot,,All\na,root,A\nb,root,B\n"
        + "".join(f"c{n},{'ab'[n % 2]},Leaf {n}\n" for n in range(LEAVES))
    ).encode()
)


def simulate(seed, *, copiers=0, guessers=0, items=1500, honest=15):
    """Honest workers are right in 80%; copiers repeat one bad worker; guessers draw blindly."""
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, LEAVES, items)
    copied = np.where(chance.random(items) < 0.4, truth, chance.integers(0, LEAVES, items))
    rows = []
    names = [f"good{n}" for n in range(honest)]
    names += [f"copy{n}" for n in range(copiers)] + [f"guess{n}" for n in range(guessers)]
    for item in range(items):
        for worker in chance.choice(names, 5, replace=False):
            vote = truth[item] if chance.random() < 0.8 else chance.integers(0, LEAVES)
            if worker.startswith("copy"):
                vote = copied[item]
            if worker.startswith("guess"):
                vote = chance.integers(0, LEAVES)
            rows.append((f"i{item}", str(worker), f"c{vote}"))
    return rows, {f"i{item}": f"c{leaf}" for item, leaf in enumerate(truth)}


def encoded(rows):
    columns = [list(column) for column in zip(*rows, strict=True)]
    table = Table(
        "v",
        dict(zip(("item_id", "worker_id", "taxon_id"), columns, strict=True)),
        list(range(len(rows))),
    )
    return encode(
        table, taxonomy=TREE, item_column="item_id", known=dict.fromkeys(columns[0], True)
    )[0]


@pytest.mark.parametrize("seed", range(3))
def test_copiers_are_found_and_nobody_else(seed):
    votes = encoded(simulate(seed, copiers=4, guessers=2)[0])
    groups = colluders(votes, node_paths(TREE, votes.node_ids))
    assert [{votes.worker_ids[w] for w in group} for group in groups] == [
        {"copy0", "copy1", "copy2", "copy3"}
    ]


@pytest.mark.parametrize("seed", range(5))
def test_honest_workers_and_guessers_do_not_collude(seed):
    votes = encoded(simulate(seed, guessers=3)[0])
    assert colluders(votes, node_paths(TREE, votes.node_ids)) == []


def test_excellent_workers_agree_because_they_are_right():
    rows = [(f"i{n}", f"w{w}", f"c{n % LEAVES}") for n in range(200) for w in range(4)]
    votes = encoded(rows)
    assert colluders(votes, node_paths(TREE, votes.node_ids)) == []


def test_labels_are_those_of_the_others_and_each_one_set_aside_is_named():
    rows, truth = simulate(7, copiers=5, guessers=3)

    result = label_items(encoded(rows), taxonomy=TREE, curated={}, config=CatalogConfig())
    aside = {worker.worker_id: worker.set_aside for worker in result.workers if worker.set_aside}
    assert set(aside) == {*(f"copy{n}" for n in range(5)), *(f"guess{n}" for n in range(3))}
    assert aside["copy0"].startswith("colluder with ")
    assert all(f"copy{n}" in aside["copy0"] for n in range(1, 5))
    assert aside["guess1"] == "spammer"
    assert result.workers[0].set_aside
    clean = label_items(
        encoded([row for row in rows if row[1].startswith("good")]),
        taxonomy=TREE,
        curated={},
        config=CatalogConfig(),
    )
    assert {item: label.best for item, label in result.labels.items()} == {
        item: label.best for item, label in clean.labels.items()
    }
    assert np.mean([truth[item] == label.best for item, label in result.labels.items()]) > 0.9


def test_an_item_with_only_their_votes_has_no_label():
    rows, _ = simulate(7, guessers=3)
    rows.append(("lonely", "guess0", "c0"))
    result = label_items(encoded(rows), taxonomy=TREE, curated={}, config=CatalogConfig())
    assert "lonely" not in result.labels
    assert "i0" in result.labels


def test_the_bound_lies_above_the_tail():
    # P(X >= 5) of a Poisson with mean 1 is 1 - 65/24 / e = 0.00366.
    assert 0.00366 < _poisson_tail(5, 1.0) < 0.03
    assert _poisson_tail(1, 1.0) == 1.0
    assert _poisson_tail(3, 0.0) == 0.0
