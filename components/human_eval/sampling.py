"""Draws a plan: queries, slots, comparisons with the incumbent, golds. Every choice is seeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from components.contracts.catalog import Item
from components.contracts.files import sha256_bytes
from components.human_eval.answers import Answer, Result
from components.human_eval.config import GateConfig
from components.human_eval.golds import add_golds
from components.human_eval.pairs import UNKNOWN_DEPARTMENT, Binding, PairBook, Shop
from components.human_eval.plan import (
    CANDIDATE,
    INCUMBENT,
    POOLED,
    WHOLE,
    Comparison,
    Draw,
    Plan,
)

# One draw for each guarded department after so many of the whole. The whole, whose bar is nearer,
# needs the more queries and feeds the departments on the way: this pace cost the fewest pairs.
_DEPARTMENT_PACE = 16


def draw_plan(
    binding: Binding,
    *,
    candidate: Mapping[str, Answer],
    incumbent: Mapping[str, Answer] | None,
    missing: Sequence[Answer],
    shop: Shop,
    config: GateConfig,
) -> tuple[Plan, dict[str, str]]:
    """Draws the whole plan.

    Args:
        binding: What is judged against what.
        candidate: Its answers by query id.
        incumbent: The incumbent's answers to the same queries; None when there are none.
        missing: Queries of the catalog that the candidate left unanswered: they count 0.
        shop: The checked catalog.
        config: The policy.

    Returns:
        The plan, and for each image path in it the URI to copy from.
    """
    ticket = sha256_bytes(f"{binding.manifest_digest}:{binding.incumbent_digest}".encode())
    rng = np.random.default_rng([config.seed, int(ticket[:15], 16)])
    answers = {**{answer.query_id: answer for answer in missing}, **candidate}
    queries = [answers[query_id] for query_id in sorted(answers)]
    traffic = _traffic(queries, shop.items)
    departments = {query.query_id: shop.department(query.taxon_id) for query in queries}
    shares = _shares(queries, traffic, departments)
    products = Counter(
        department
        for _, department in {
            (item.product_id, shop.department(item.taxon_id)) for item in shop.items
        }
    )
    guarded = guarded_departments(config, traffic=shares, products=products)
    book = PairBook(
        binding,
        {name: name if name in guarded else POOLED for name in {*products, *shares}},
        departments,
    )

    draws = [
        Draw(
            query.query_id,
            departments[query.query_id],
            stream,
            tuple(
                book.add(query, query.results[slot], CANDIDATE)
                for slot in slots
                if slot < len(query.results)
            ),
            sum(slot >= len(query.results) for slot in slots),
        )
        for query, stream, slots in _drawn(queries, traffic, departments, guarded, config, rng)
    ]
    churn: float | None = None
    comparisons: tuple[Comparison, ...] = ()
    if incumbent is not None:
        churn, comparisons = _compare(candidate, incumbent, traffic, shop, book, config, rng)
    add_golds(queries, shop, book, config, rng)
    notes = []
    if missing:
        notes.append(f"{len(missing)} queries of the catalog have no answer: each counts 0.")
    plan = Plan(
        version=binding.version,
        manifest_digest=binding.manifest_digest,
        incumbent=binding.incumbent,
        incumbent_digest=binding.incumbent_digest,
        guideline=config.guideline,
        policy_digest=config.digest,
        seed=config.seed,
        sampling=config.sampling,
        churn=churn,
        guarded=guarded,
        traffic=shares,
        products=dict(sorted(products.items())),
        pairs=tuple(book.pairs[key] for key in sorted(book.pairs)),
        draws=tuple(draws),
        comparisons=comparisons,
        notes=tuple(notes),
    )
    return plan, book.images


def guarded_departments(
    config: GateConfig, *, traffic: Mapping[str, float], products: Mapping[str, int]
) -> tuple[str, ...]:
    """Returns the departments with a stream of their own, those with most traffic first.

    Args:
        config: The policy: by number of products where it says so, else by share of traffic.
        traffic: Share of traffic by department.
        products: Products by department.
    """
    if config.guarded_products:
        chosen = [name for name in traffic if products.get(name, 0) >= config.guarded_products]
    else:
        chosen = [name for name in traffic if traffic[name] >= config.guarded_traffic_share]
    chosen = [name for name in chosen if name != UNKNOWN_DEPARTMENT]
    return tuple(sorted(chosen, key=lambda name: (-traffic[name], name))[: config.guarded_most])


def _traffic(queries: Iterable[Answer], items: Sequence[Item]) -> dict[str, float]:
    """Returns the weight of each query: the item's traffic, 1 for a shopper photo."""
    weights = {item.item_id: item.traffic for item in items}
    return {
        query.query_id: weights.get(query.query_id, 1.0) if query.kind == "item" else 1.0
        for query in queries
    }


def _shares(
    queries: Iterable[Answer], traffic: Mapping[str, float], departments: Mapping[str, str]
) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for query in queries:
        sums[departments[query.query_id]] += traffic[query.query_id]  # type: ignore[assignment]
    total = sum(sums.values()) or 1.0
    return {name: float(weight / total) for name, weight in sorted(sums.items())}


def _drawn(
    queries: Sequence[Answer],
    traffic: Mapping[str, float],
    departments: Mapping[str, str],
    guarded: Sequence[str],
    config: GateConfig,
    rng: np.random.Generator,
) -> list[tuple[Answer, str, list[int]]]:
    """Returns (query, stream, slots) in the order that is recorded."""
    if not queries:
        return []
    if config.sampling == "census":
        order = rng.permutation(len(queries))[: config.cap_queries]
        return [(queries[i], WHOLE, list(range(config.results))) for i in order]
    weights = np.array([traffic[query.query_id] for query in queries])
    if weights.sum() <= 0:
        weights = np.ones(len(queries))

    def slots() -> list[int]:
        return sorted(int(s) for s in rng.choice(config.results, config.slots, replace=False))

    whole = rng.choice(len(queries), config.cap_queries, p=weights / weights.sum())
    members = {
        name: np.array([i for i, q in enumerate(queries) if departments[q.query_id] == name])
        for name in guarded
    }
    counts = Counter(departments[queries[i].query_id] for i in whole)
    left = {name: config.cap_department - counts[name] for name in guarded}
    drawn: list[tuple[Answer, str, list[int]]] = []

    def one_of_each_department() -> None:
        for name in guarded:
            mass = weights[members[name]]
            if left[name] > 0 and mass.sum() > 0:
                left[name] -= 1
                pick = int(rng.choice(members[name], p=mass / mass.sum()))
                drawn.append((queries[pick], name, slots()))

    for number, index in enumerate(whole, start=1):
        drawn.append((queries[index], WHOLE, slots()))
        if number % _DEPARTMENT_PACE == 0:
            one_of_each_department()
    for _ in range(max([0, *left.values()])):
        one_of_each_department()
    return drawn


def _compare(
    candidate: Mapping[str, Answer],
    incumbent: Mapping[str, Answer],
    traffic: Mapping[str, float],
    shop: Shop,
    book: PairBook,
    config: GateConfig,
    rng: np.random.Generator,
) -> tuple[float | None, tuple[Comparison, ...]]:
    """Returns the churn and the recorded comparisons of changed slots.

    A result that is no longer in the catalog counts neither way.
    """
    listed = {item.item_id for item in shop.items}
    changes: list[tuple[Answer, list[Result], list[Result]]] = []
    weights: list[float] = []
    total = 0.0
    for query_id in sorted(candidate.keys() & incumbent.keys()):
        query, before = candidate[query_id], incumbent[query_id]
        now_ids = {result.item_id for result in query.results}
        then_ids = {result.item_id for result in before.results}
        added = [result for result in query.results if result.item_id not in then_ids]
        removed = [
            result
            for result in before.results
            if result.item_id not in now_ids and result.item_id in listed
        ]
        total += traffic[query_id] * config.results
        if added and removed:
            changes.append((query, added, removed))
            weights.append(traffic[query_id] * min(len(added), len(removed)))
    if total <= 0:
        return None, ()
    mass = float(sum(weights))
    churn = mass / total
    if not changes or mass <= 0 or churn <= config.margin:
        return churn, ()
    cap = config.cap_high_churn if churn > config.high_churn else config.cap_non_inferiority
    picks = rng.choice(len(changes), cap, p=np.array(weights) / mass)
    comparisons = []
    for pick in picks:
        query, added, removed = changes[pick]
        comparisons.append(
            Comparison(
                query.query_id,
                book.add(query, added[rng.integers(len(added))], CANDIDATE),
                book.add(query, removed[rng.integers(len(removed))], INCUMBENT),
            )
        )
    return churn, tuple(comparisons)
