"""From votes to labels: the deepest node that the crowd agrees on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from components.catalog.collusion import colluders, spammers
from components.catalog.config import CatalogConfig
from components.catalog.dawid_skene import Estimate, estimate
from components.catalog.tables import Table
from components.catalog.votes import (
    ITEM_COLUMNS,
    Codes,
    Floats,
    Votes,
    encode,
    leaf_counts,
    node_paths,
)
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
        set_aside: Why the votes have no part in the labels: `spammer`, `colluder with ...`, or
            empty where they have.
    """

    worker_id: str
    votes: int
    reliability: float
    agreement: float | None
    set_aside: str = ""


@dataclass(frozen=True)
class Crowd:
    """Everything the votes say: labels by item; the workers, set aside ones and worst first."""

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
    leaves = leaf_counts(taxonomy, votes.node_ids)
    first, reasons = _judge_workers(votes, paths, leaves, config)
    workers = tuple(
        replace(worker, set_aside=reasons.get(index, ""))
        for index, worker in enumerate(_workers(votes, first, taxonomy, curated))
    )
    kept = _without(votes, set(reasons))
    labels = {}
    if len(kept):
        result = _estimate(kept, paths, leaves, config) if reasons else first
        labels = _labels(kept, result, paths, taxonomy.root, config.ancestor_confidence)
    # Those set aside first: somebody has to speak to them.
    workers = tuple(
        sorted(workers, key=lambda one: (not one.set_aside, one.reliability, one.worker_id))
    )
    return Crowd(labels, workers)


def set_aside_in(
    table: Table, *, taxonomy: Taxonomy, known: Collection[str], config: CatalogConfig
) -> dict[str, str]:
    """Returns the workers whose votes are set aside, each with the reason.

    Args:
        table: The votes as they come.
        taxonomy: The tree.
        known: Every item id of the catalog.
        config: The step's settings.
    """
    column = next((name for name in ITEM_COLUMNS if name in table.columns), "item_id")
    votes, _ = encode(
        table, taxonomy=taxonomy, item_column=column, known=dict.fromkeys(known, True)
    )
    if not len(votes):
        return {}
    paths = node_paths(taxonomy, votes.node_ids)
    reasons = _judge_workers(votes, paths, leaf_counts(taxonomy, votes.node_ids), config)[1]
    return {votes.worker_ids[worker]: reason for worker, reason in reasons.items()}


def _judge_workers(
    votes: Votes, paths: Codes, leaves: Floats, config: CatalogConfig
) -> tuple[Estimate, dict[int, str]]:
    """Returns what all votes together say, and whose are set aside (index) for which reason."""
    first = _estimate(votes, paths, leaves, config)
    reasons = dict.fromkeys(
        spammers(
            votes,
            first.reliability,
            least=config.min_worker_reliability,
            least_votes=config.min_judged_votes,
        ).tolist(),
        "spammer",
    )
    for group in colluders(votes, paths):
        for worker in group:
            others = [votes.worker_ids[other] for other in group if other != worker]
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            reasons[worker] = f"colluder with {', '.join(others[:5])}{more}"
    return first, reasons


def _estimate(votes: Votes, paths: Codes, leaves: Floats, config: CatalogConfig) -> Estimate:
    return estimate(
        votes,
        paths=paths,
        leaves=leaves,
        iterations=config.em_iterations,
        tolerance=config.em_tolerance,
        prior_votes=config.prior_votes,
    )


def _without(votes: Votes, workers: set[int]) -> Votes:
    """Returns the votes of all others; items that are left without votes drop out."""
    if not workers:
        return votes
    keep = ~np.isin(votes.workers, sorted(workers))
    items, codes = np.unique(votes.items[keep], return_inverse=True)
    return replace(
        votes,
        items=codes.astype(np.int64),
        workers=votes.workers[keep],
        nodes=votes.nodes[keep],
        item_ids=tuple(votes.item_ids[item] for item in items.tolist()),
    )


def _labels(
    votes: Votes,
    result: Estimate,
    paths: Codes,
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
    return tuple(workers)
