import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import OneCoinDawidSkene

from components.catalog.dawid_skene import estimate
from components.catalog.tables import Table
from components.catalog.votes import encode, leaf_counts, node_paths
from components.contracts.taxonomy import Taxonomy


def simulate(*, classes, items, abilities, votes_an_item, seed):
    """Returns (item, worker, class) rows and the truth."""
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, classes, items)
    rows = []
    for item, right in enumerate(truth):
        for worker in chance.choice(len(abilities), votes_an_item, replace=False):
            vote = right
            if chance.random() > abilities[worker]:
                vote = (right + chance.integers(1, classes)) % classes
            rows.append((f"i{item}", f"w{worker}", f"c{vote}"))
    return rows, truth


def run(rows, tree, **settings):
    columns = [list(column) for column in zip(*rows, strict=True)]
    names = ("item_id", "worker_id", "taxon_id")
    table = Table("v", dict(zip(names, columns, strict=True)), list(range(len(rows))))
    votes, rejects = encode(
        table, taxonomy=tree, item_column="item_id", known=dict.fromkeys(columns[0], True)
    )
    assert not rejects
    options = {"iterations": 200, "tolerance": 1e-9, "prior_votes": 1e-9, **settings}
    return votes, estimate(
        votes,
        paths=node_paths(tree, votes.node_ids),
        leaves=leaf_counts(tree, votes.node_ids),
        **options,
    )


def flat(classes):
    lines = ["taxon_id,parent_id,name", "root,,All"]
    lines += [f"c{n},root,Class {n}" for n in range(classes)]
    return Taxonomy.parse("\n".join(lines).encode())


# crowd-kit's pandas calls are older than the installed pandas.
@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword:DeprecationWarning")
def test_on_a_flat_tree_it_is_the_one_coin_model_of_crowd_kit():
    abilities = [0.95, 0.9, 0.85, 0.8, 0.6, 0.5, 0.3, 0.2]
    rows, truth = simulate(classes=4, items=300, abilities=abilities, votes_an_item=5, seed=1)
    votes, ours = run(rows, flat(4))
    theirs = OneCoinDawidSkene(n_iter=200, tol=1e-9).fit(
        pd.DataFrame(rows, columns=["task", "worker", "label"])
    )
    for index, worker in enumerate(votes.worker_ids):
        # Theirs also estimates how frequent the classes are and lets the truth be a class that
        # nobody voted for; over 300 items that moves a worker by no more than this.
        assert ours.reliability[index] == pytest.approx(theirs.skills_[worker], abs=0.03)
    best = {}
    order = np.argsort(ours.probability, kind="stable")
    for place in order:
        item = votes.item_ids[ours.candidate_items[place]]
        best[item] = votes.node_ids[ours.candidate_nodes[place]]
    assert np.mean([best[item] == label for item, label in theirs.labels_.items()]) > 0.97
    right = np.mean([best[f"i{n}"] == f"c{label}" for n, label in enumerate(truth)])
    theirs_right = np.mean(
        [theirs.labels_[f"i{n}"] == f"c{label}" for n, label in enumerate(truth)]
    )
    assert right >= theirs_right - 0.02


def test_one_step_by_hand():
    """Two items, three workers; worked out on paper for one round without a prior.

    Start: item x has votes a, a, b: P(a) = 2/3, P(b) = 1/3. Item y has a, a, a: P(a) = 1.
    Workers: w0 (x: a, y: a) is right with (2/3 + 1) / 2 = 5/6, w1 the same, w2 (x: b, y: a) with
    (1/3 + 1) / 2 = 2/3. The tree is flat with three leaves, so a wrong vote falls on either of two.
    Then x: a scores 5/6 * 5/6 * (1/3)/2 = 25/216, b scores (1/6)/2 * (1/6)/2 * 2/3 = 1/216.
    """
    rows = [("x", "w0", "c0"), ("x", "w1", "c0"), ("x", "w2", "c1")]
    rows += [("y", f"w{n}", "c0") for n in range(3)]
    votes, result = run(rows, flat(3), iterations=1)
    assert votes.worker_ids == ("w0", "w1", "w2")
    assert result.reliability == pytest.approx([5 / 6, 5 / 6, 2 / 3], abs=1e-5)
    assert result.probability == pytest.approx([25 / 26, 1 / 26, 1.0], abs=1e-4)


def test_probabilities_of_an_item_sum_to_one():
    rows, _ = simulate(classes=6, items=80, abilities=[0.7] * 9, votes_an_item=4, seed=2)
    votes, result = run(rows, flat(6), prior_votes=4.0)
    sums = np.bincount(result.candidate_items, weights=result.probability)
    assert sums == pytest.approx(np.ones(len(votes.item_ids)))
    assert result.ability.sum(axis=1) == pytest.approx(np.ones(9))


def test_a_worker_with_few_votes_is_taken_for_the_average_one():
    rows, _ = simulate(classes=4, items=100, abilities=[0.9] * 5, votes_an_item=4, seed=3)
    # Wrong once, against four who agree.
    rows += [("single", f"w{n}", "c1") for n in range(4)] + [("single", "novice", "c2")]
    votes, result = run(rows, flat(4), prior_votes=4.0)
    novice = result.reliability[votes.worker_ids.index("novice")]
    # One wrong vote and four votes' worth of the average 0.9: 0.9 * 4 / 5.
    assert novice == pytest.approx(0.72, abs=0.03)


def test_errors_near_the_truth_say_more_than_errors_anywhere():
    """A worker who confuses siblings still tells the department."""
    tree = Taxonomy.parse(
        b"taxon_id,parent_id,name\nroot,,All\na,root,A\nb,root,B\n"
        b"a1,a,A1\na2,a,A2\na3,a,A3\nb1,b,B1\nb2,b,B2\nb3,b,B3\n"
    )
    leaves = ("a1", "a2", "a3", "b1", "b2", "b3")
    siblings = {"a1": "a2", "a2": "a3", "a3": "a1", "b1": "b2", "b2": "b3", "b3": "b1"}
    chance = np.random.default_rng(4)
    rows = []
    for n in range(120):
        truth = leaves[n % 6]
        rows += [(f"i{n}", f"good{k}", truth) for k in range(3)]
        rows.append((f"i{n}", "sloppy", truth if n % 2 else siblings[truth]))
        rows.append((f"i{n}", "random", str(chance.choice(leaves))))
    rows += [("x", "sloppy", "a1"), ("x", "random", "b1")]
    votes, result = run(rows, tree, prior_votes=4.0)
    sloppy = result.ability[votes.worker_ids.index("sloppy")]
    # In no department, in the right department but wrong, right.
    assert sloppy == pytest.approx([0.0, 0.5, 0.5], abs=0.05)
    x = votes.item_ids.index("x")
    mine = result.candidate_items == x
    nodes = [votes.node_ids[node] for node in result.candidate_nodes[mine]]
    assert dict(zip(nodes, result.probability[mine], strict=True))["a1"] > 0.8
