"""From votes to labels: the deepest node that the crowd agrees on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.catalog.config import CatalogConfig
from components.catalog.dawid_skene import Estimate, estimate
from components.catalog.votes import Floats, Votes, leaf_counts, node_paths
from components.contracts.taxonomy import Taxonomy


@dataclass(frozen=True)
class CrowdLabel:
    """What the crowd says about one item.

    Attributes:
        taxon_id: The deepest node whose probability reaches the threshold; the root when none
            below it does.
        confidence: That probability; 0 for the root.
        best: The most probable of the nodes that were voted for.
        best_probability: Its probability.
        votes: How many votes there are.
    """

    taxon_id: str
    confidence: float
    best: str
    best_probability: float
    votes: int


@dataclass(frozen=True)
class Worker:
    """How one worker votes.

    Attributes:
        worker_id: Who.
        votes: How many usable votes.
        reliability: Estimated probability that a vote is right.
        agreement: Share of the votes on curated items that agree with the curator (the curated
            node or one above or below it); None without any.
    """

    worker_id: str
    votes: int
    reliability: float
    agreement: float | None


@dataclass(frozen=True)
class Crowd:
    """Everything the votes say: labels by item, and the workers by reliability, worst first."""

    labels: Mapping[str, CrowdLabel]
    workers: tuple[Worker, ...]


def label_items(
    votes: Votes, *, taxonomy: Taxonomy, curated: Mapping[str, str], config: CatalogConfig
) -> Crowd:
    """Turns votes into labels.

    Args:
        votes: The usable votes.
        taxonomy: The tree.
        curated: Item id to the curator's label, only to tell how often each worker agrees with
            it: it has no part in the crowd's labels, which are there to check it.
        config: The step's settings.
    """
    if not len(votes):
        return Crowd({}, ())
    paths = node_paths(taxonomy, votes.node_ids)
    result = estimate(
        votes,
        paths=paths,
        leaves=leaf_counts(taxonomy, votes.node_ids),
        iterations=config.em_iterations,
        tolerance=config.em_tolerance,
        prior_votes=config.prior_votes,
    )
    labels = _labels(votes, result, paths, taxonomy.root, config.ancestor_confidence)
    return Crowd(labels, _workers(votes, result, taxonomy, curated))


def _labels(
    votes: Votes,
    result: Estimate,
    paths: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    root: str,
    threshold: float,
) -> dict[str, CrowdLabel]:
    count = len(votes.item_ids)
    items, nodes, probability = (
        result.candidate_items,
        result.candidate_nodes,
        result.probability,
    )
    label = np.full(count, -1, dtype=np.int64)
    confidence: Floats = np.zeros(count)
    # From the departments down: above one half at most one node of a level can pass.
    for column in range(paths.shape[1]):
        node = paths[nodes, column]
        there = node >= 0
        keys, inverse = np.unique(items[there] * len(paths) + node[there], return_inverse=True)
        mass = np.bincount(inverse, weights=probability[there], minlength=keys.size)
        passing = mass >= threshold
        label[keys[passing] // len(paths)] = keys[passing] % len(paths)
        confidence[keys[passing] // len(paths)] = np.minimum(mass[passing], 1.0)
    order = np.lexsort((-probability, items))
    best = order[np.searchsorted(items[order], np.arange(count))]
    ballots = np.bincount(votes.items, minlength=count)
    return {
        item: CrowdLabel(
            taxon_id=votes.node_ids[label[index]] if label[index] >= 0 else root,
            confidence=round(float(confidence[index]), 6),
            best=votes.node_ids[nodes[best[index]]],
            best_probability=round(float(probability[best[index]]), 6),
            votes=int(ballots[index]),
        )
        for index, item in enumerate(votes.item_ids)
    }


def _workers(
    votes: Votes, result: Estimate, taxonomy: Taxonomy, curated: Mapping[str, str]
) -> tuple[Worker, ...]:
    size = len(votes.worker_ids)
    codes = {node: code for code, node in enumerate(votes.node_ids)}
    truth = np.array([codes[curated[item]] if item in curated else -1 for item in votes.item_ids])
    agrees = np.zeros(len(votes), dtype=bool)
    compared = truth[votes.items] >= 0
    pairs, inverse = np.unique(
        truth[votes.items[compared]] * len(codes) + votes.nodes[compared], return_inverse=True
    )
    related = np.array(
        [
            taxonomy.common_ancestor(votes.node_ids[pair // len(codes)], vote)
            in (votes.node_ids[pair // len(codes)], vote)
            for pair in pairs.tolist()
            for vote in (votes.node_ids[pair % len(codes)],)
        ],
        dtype=bool,
    )
    if pairs.size:
        agrees[compared] = related[inverse]
    cast = np.bincount(votes.workers, minlength=size)
    checked = np.bincount(votes.workers, weights=compared, minlength=size)
    agreed = np.bincount(votes.workers, weights=agrees, minlength=size)
    workers = [
        Worker(
            worker_id=worker,
            votes=int(cast[index]),
            reliability=round(float(result.reliability[index]), 4),
            agreement=round(float(agreed[index] / checked[index]), 4) if checked[index] else None,
        )
        for index, worker in enumerate(votes.worker_ids)
    ]
    return tuple(sorted(workers, key=lambda worker: (worker.reliability, worker.worker_id)))
