"""Dawid-Skene over a taxonomy: who votes how well, and what each item therefore is.

After A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using
the EM algorithm", Applied Statistics 28(1), 1979. A full confusion matrix for each worker needs
leaves x leaves numbers, far more than a worker casts votes; so the errors are tied together by
the tree: for each depth d, a worker has one probability that the deepest node above both the
truth and the vote lies at depth d, and the leaves that are wrong in that same way are equally
likely. On a tree with one level this is the "one-coin" model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.catalog.votes import Codes, Floats, Votes

_SMALLEST = 1e-6


@dataclass(frozen=True)
class Estimate:
    """What the votes say.

    Attributes:
        candidate_items: int64 [candidates], sorted: index into the votes' `item_ids`.
        candidate_nodes: int64 [candidates]: the node that this candidate stands for; an item's
            candidates are the most specific nodes that it got votes for.
        probability: float64 [candidates]; an item's candidates sum to 1.
        ability: float64 [workers, levels + 1]: the probability that a worker's vote shares 0, 1,
            ... levels with the truth without being right, and last that it is right.
    """

    candidate_items: Codes
    candidate_nodes: Codes
    probability: Floats
    ability: Floats

    @property
    def reliability(self) -> Floats:
        """float64 [workers]: the probability that a worker's vote is right."""
        return self.ability[:, -1]


def estimate(
    votes: Votes,
    *,
    paths: Codes,
    leaves: Floats,
    iterations: int,
    tolerance: float,
    prior_votes: float,
) -> Estimate:
    """Estimates labels and abilities by expectation-maximisation.

    All nodes are equally likely beforehand. The start is the share of the votes. A worker's
    ability is pulled to the average worker's by `prior_votes` votes.

    Args:
        votes: At least one vote.
        paths: int64 [nodes, depth], see `components.catalog.votes.node_paths`.
        leaves: float64 [nodes], leaves below each node.
        iterations: Most rounds.
        tolerance: Largest change of a probability at which to stop.
        prior_votes: Weight of the average worker in every worker's ability, in votes.
    """
    items, nodes = _candidates(votes, paths)
    starts = np.searchsorted(items, np.arange(len(votes.item_ids)))
    sizes = np.diff(np.append(starts, items.size))
    # One pair for every vote and every candidate of the voted item.
    per_vote = sizes[votes.items]
    vote = np.repeat(np.arange(len(votes)), per_vote)
    offset = np.arange(vote.size) - np.repeat(np.cumsum(per_vote) - per_vote, per_vote)
    candidate = starts[votes.items[vote]] + offset
    level, log_spread = _compare(nodes[candidate], votes.nodes[vote], paths, leaves)
    worker = votes.workers[vote]
    levels = paths.shape[1] + 1
    cell = worker * levels + level

    right = level == levels - 1
    support: Floats = np.bincount(
        candidate, weights=right.astype(np.float64), minlength=items.size
    ).astype(np.float64)
    probability: Floats = support / np.add.reduceat(support, starts)[items]
    ability = np.zeros((len(votes.worker_ids), levels))
    for _ in range(iterations):
        counts = np.bincount(cell, weights=probability[candidate], minlength=ability.size).reshape(
            ability.shape
        )
        average = counts.sum(axis=0) + _SMALLEST
        average /= average.sum()
        ability = counts + prior_votes * average
        ability /= ability.sum(axis=1, keepdims=True)
        score = np.bincount(
            candidate,
            weights=np.log(ability.reshape(-1)[cell] + _SMALLEST) - log_spread,
            minlength=items.size,
        )
        score = np.exp(score - np.maximum.reduceat(score, starts)[items])
        updated = score / np.add.reduceat(score, starts)[items]
        change = float(np.abs(updated - probability).max())
        probability = updated
        if change <= tolerance:
            break
    return Estimate(items, nodes, probability, ability)


def _candidates(votes: Votes, paths: Codes) -> tuple[Codes, Codes]:
    """Returns (items, nodes) that could be the truth, sorted by item and node.

    A voted node with a voted node below it in the same item is no candidate of its own: the more
    specific vote says the same and more.
    """
    total = len(paths)
    pairs = np.unique(votes.items * total + votes.nodes)
    items, nodes = pairs // total, pairs % total
    above = np.zeros(pairs.size, dtype=bool)
    for column in range(paths.shape[1]):
        ancestor = paths[nodes, column]
        proper = (ancestor >= 0) & (ancestor != nodes)
        key = items[proper] * total + ancestor[proper]
        place = np.minimum(np.searchsorted(pairs, key), pairs.size - 1)
        above[place[pairs[place] == key]] = True
    # The root is on no path: it is a candidate only where nothing else was voted for.
    is_root = (paths[nodes] < 0).all(axis=1)
    alone = np.bincount(items, minlength=len(votes.item_ids))[items] == 1
    keep = ~above & (~is_root | alone)
    return items[keep], nodes[keep]


def _compare(truth: Codes, vote: Codes, paths: Codes, leaves: Floats) -> tuple[Codes, Floats]:
    """Returns how votes relate to supposed truths.

    Returns:
        int64 [pairs]: shared levels, or the last level when the vote is the truth or lies above
        it; float64 [pairs]: the log of how many leaves share that fate, votes counted in leaves.
    """
    one, other = paths[truth], paths[vote]
    same = (one == other) & (one >= 0)
    shared = np.cumprod(same, axis=1).sum(axis=1)
    levels = paths.shape[1]
    depth = (other >= 0).sum(axis=1)
    right = shared == depth
    level = np.where(right, levels, shared)
    rows = np.arange(truth.size)
    # Wrong votes fall on the leaves below the last shared node, but not below the truth's branch.
    root_leaves = leaves.max()
    last = np.where(shared > 0, leaves[one[rows, np.maximum(shared - 1, 0)]], root_leaves)
    branch_node = one[rows, np.minimum(shared, levels - 1)]
    has_branch = (shared < levels) & (branch_node >= 0)
    branch = np.where(has_branch, leaves[np.maximum(branch_node, 0)], 0.0)
    spread = np.maximum(last - branch, 1.0) / leaves[vote]
    return level, np.where(right, 0.0, np.log(np.maximum(spread, 1.0)))
