"""Workers whose votes are set aside: those who guess, and those who copy from each other.

Copying shows in shared mistakes (after the copy detection of X. L. Dong, L. Berti-Equille and D.
Srivastava, "Integrating conflicting data: the role of source dependence", VLDB 2009): two honest
workers agree because both are right; two who copy agree where everybody else says otherwise.
"""

from __future__ import annotations

import math

import numpy as np

from components.catalog.votes import Codes, Floats, Votes

# Of an item with more votes, only the first so many are paired: pairs grow with the square.
_MOST_VOTES_PAIRED = 20
# Fewer shared mistakes than this are chance or a hard item, whatever the arithmetic says.
_LEAST_SHARED_MISTAKES = 10
# Probability, over all pairs together, of calling any honest pair copiers.
_FALSE_ALARMS = 1e-3
# Nor are somewhat more than expected a sign: some workers simply confuse the same nodes.
_LEAST_RATIO = 2.0


def spammers(votes: Votes, reliability: Floats, *, least: float, least_votes: int) -> Codes:
    """Returns the workers who are right too seldom to be told from guessing.

    Args:
        votes: The usable votes.
        reliability: float64 [workers], probability that a vote is right.
        least: Smallest reliability in [0, 1] that is kept.
        least_votes: Votes that a worker must have cast before being judged at all.

    Returns:
        int64 [spammers]: indices of workers.
    """
    cast = np.bincount(votes.workers, minlength=len(votes.worker_ids))
    return np.flatnonzero((cast >= least_votes) & (reliability < least))


def colluders(votes: Votes, paths: Codes) -> list[tuple[int, ...]]:
    """Returns groups of workers who share mistakes far more often than their accuracy explains.

    For every two workers and every item both voted on that others voted on too, it is looked at
    whether each stands against most of the others (neither same node nor one above or below). With
    u_a and u_b their shares of such items over all pairs and n items shared,
    n * (r * (1 - u_a) * (1 - u_b) + k * u_a * u_b) cases of standing there together are expected:
    both right against the rest, or both wrong alike; r and k are fitted to all pairs. A pair is
    flagged when so many as seen are as good as impossible (Poisson, corrected for the number
    of pairs), and when one follows the other in most of its mistakes.

    Args:
        votes: The usable votes.
        paths: int64 [nodes, depth], see `components.catalog.votes.node_paths`.

    Returns:
        Indices of the workers of each group, in ascending order.
    """
    one, other = _pairs(votes)
    if not one.size:
        return []
    alone, both = _against_the_rest(votes, paths, one, other)
    compared = alone >= 0
    one, other, alone, both = one[compared], other[compared], alone[compared], both[compared]
    if not one.size:
        return []
    first, second = votes.workers[one], votes.workers[other]
    swapped = first > second
    low, high = np.where(swapped, second, first), np.where(swapped, first, second)
    size = len(votes.worker_ids)
    first_wrong, second_wrong = (alone & 1) > 0, (alone & 2) > 0
    wrong = np.bincount(first, weights=first_wrong, minlength=size)
    wrong += np.bincount(second, weights=second_wrong, minlength=size)
    seen = np.bincount(first, minlength=size) + np.bincount(second, minlength=size)
    share = wrong / np.maximum(seen, 1)
    keys, pair = np.unique(low * size + high, return_inverse=True)
    shared = np.bincount(pair, minlength=keys.size)
    mistakes = np.bincount(pair, weights=both, minlength=keys.size)
    fewer = np.minimum(
        np.bincount(pair, weights=first_wrong, minlength=keys.size),
        np.bincount(pair, weights=second_wrong, minlength=keys.size),
    )
    ua, ub = share[keys // size], share[keys % size]
    # Both may be right where the rest is wrong, or both wrong in the same way.
    ways = np.stack([shared * (1 - ua) * (1 - ub), shared * ua * ub], axis=1)
    flagged = np.zeros(keys.size, dtype=bool)
    candidates = np.flatnonzero((mistakes >= _LEAST_SHARED_MISTAKES) & (mistakes > fewer / 2))
    # Copiers raise the rates that they are compared with: measure them again without them.
    while True:
        expected = ways @ _rates(ways[~flagged], mistakes[~flagged].astype(np.float64))
        found = [
            place
            for place in candidates.tolist()
            if not flagged[place]
            and mistakes[place] >= _LEAST_RATIO * expected[place]
            and _poisson_tail(int(mistakes[place]), float(expected[place]))
            < _FALSE_ALARMS / keys.size
        ]
        if not found:
            break
        flagged[found] = True
    return _groups([(int(key) // size, int(key) % size) for key in keys[flagged]])


def _rates(ways: Floats, counts: Floats) -> Floats:
    """Returns the two rates, from 0 up, that explain the counts best: least squares."""
    rates: Floats = np.asarray(np.linalg.lstsq(ways, counts, rcond=None)[0], np.float64)
    if (rates < 0).any():
        # With one rate at its bound the other is fitted alone.
        alone: Floats = (ways * counts[:, None]).sum(axis=0) / np.maximum(
            (ways**2).sum(axis=0), 1e-12
        )
        rates = np.where(rates < 0, 0.0, alone).astype(np.float64)
    smallest: Floats = np.maximum(rates, 1e-4).astype(np.float64)
    return smallest


def _pairs(votes: Votes) -> tuple[Codes, Codes]:
    """Returns every two votes of an item, as places in the votes."""
    order = np.argsort(votes.items, kind="stable")
    sizes = np.bincount(votes.items, minlength=len(votes.item_ids))
    starts = np.cumsum(sizes) - sizes
    rank = np.arange(order.size) - starts[votes.items[order]]
    ends = np.minimum(sizes, _MOST_VOTES_PAIRED)[votes.items[order]]
    ones, others = [], []
    for step in range(1, min(int(sizes.max(initial=0)), _MOST_VOTES_PAIRED)):
        place = np.flatnonzero(rank + step < ends)
        ones.append(order[place])
        others.append(order[place + step])
    empty = np.zeros(0, dtype=np.int64)
    return np.concatenate([empty, *ones]), np.concatenate([empty, *others])


def _related(paths: Codes, one: Codes, other: Codes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether nodes are the same, or one lies above the other: bool [pairs]."""
    left, right = paths[one], paths[other]
    related: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
        (left == right) | (left < 0) | (right < 0)
    ).all(axis=1)
    return related


def _against_the_rest(votes: Votes, paths: Codes, one: Codes, other: Codes) -> tuple[Codes, Codes]:
    """Compares the two votes of each pair with the item's other votes.

    Returns:
        int64 [pairs]: -1 without other votes, else 1 if the first stands against most of them,
        plus 2 if the second does; int64 [pairs]: 1 where both do with the same node.
    """
    # How many votes of the item each vote is related to, itself left out.
    friends = np.zeros(len(votes), dtype=np.int64)
    related = _related(paths, votes.nodes[one], votes.nodes[other]).astype(np.int64)
    np.add.at(friends, one, related)
    np.add.at(friends, other, related)
    others = np.bincount(votes.items, minlength=len(votes.item_ids))[votes.items[one]] - 2
    # Most, not all: a third copier on the item must not hide the other two.
    first = 2 * (friends[one] - related) < others
    second = 2 * (friends[other] - related) < others
    alone = np.where(others > 0, first + 2 * second, -1)
    both = (first & second & (votes.nodes[one] == votes.nodes[other])).astype(np.int64)
    return alone, both


def _poisson_tail(count: int, mean: float) -> float:
    """Returns an upper bound of P(X >= count) for a Poisson X, by Chernoff; 1 up to the mean."""
    if count <= mean:
        return 1.0
    return math.exp(count - mean - count * math.log(count / mean)) if mean > 0 else 0.0


def _groups(pairs: list[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Returns the connected components of a graph given by its edges."""
    group: dict[int, set[int]] = {}
    for one, other in pairs:
        merged = group.get(one, {one}) | group.get(other, {other})
        for member in merged:
            group[member] = merged
    return sorted({tuple(sorted(members)) for members in group.values()})
