"""Draws a plan: queries, slots, comparisons with the incumbent, golds. Every choice is seeded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from components.contracts.catalog import Item
from components.contracts.files import sha256_bytes
from components.human_eval.answers import Answer, Result
from components.human_eval.config import GateConfig
from components.human_eval.contests import Contest, draw_contest
from components.human_eval.earlier import AnchorAnswers, Earlier
from components.human_eval.golds import add_golds
from components.human_eval.pairs import UNKNOWN_DEPARTMENT, Binding, PairBook, Shop
from components.human_eval.panel import Drawn, draw_panel, population
from components.human_eval.plan import CANDIDATE, POOLED, Anchor, Draw, Pair, Plan


def draw_plan(
    binding: Binding,
    *,
    candidate: Mapping[str, Answer],
    incumbent: Mapping[str, Answer] | None,
    missing: Sequence[Answer],
    shop: Shop,
    config: GateConfig,
    earlier: Earlier | None = None,
    retrained: bool = False,
) -> tuple[Plan, PairBook]:
    """Draws the whole plan.

    Args:
        binding: What is judged against what.
        candidate: Its answers by query id.
        incumbent: The incumbent's answers to the same queries; None when there are none.
        missing: Queries of the catalog that the candidate left unanswered: they count 0.
        shop: The checked catalog.
        config: The policy.
        earlier: What the channel's earlier campaigns leave: judgements, panel, anchor.
        retrained: Whether the encoder was trained from scratch: the larger margin holds.

    Returns:
        The plan, and the book with what to copy into the campaign.
    """
    earlier = earlier or Earlier()
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
    people = population(queries, traffic, departments, guarded)
    panel = draw_panel(people, config, rng, earlier.panel)
    draws = tuple(_draw(drawn, departments, book) for drawn in panel)
    listed = {
        item.item_id: Result(item.item_id, item.product_id, item.image, item.content_hash)
        for item in shop.items
    }
    margin = config.margin_retrained if retrained else config.margin
    against = Contest(None, 0.0, ())
    if incumbent is not None:
        against = draw_contest(
            answers, incumbent, traffic, listed, panel, book, config, rng, margin=margin
        )
    anchor = None
    if config.anchor_required and binding.incumbent:
        anchor = _anchor(
            binding, earlier.anchor, answers, traffic, listed, panel, book, config, rng
        )
    _mark_cached(book, earlier, config, ticket)
    add_golds(
        queries, shop, book, config, rng, checked=earlier.history.agreed(config.ratings_per_pair)
    )
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
        margin=margin,
        churn=against.churn,
        guarded=guarded,
        traffic=shares,
        products=dict(sorted(products.items())),
        pairs=tuple(book.pairs[key] for key in sorted(book.pairs)),
        draws=draws,
        comparisons=against.comparisons,
        anchor=anchor,
        refused=earlier.refused,
        weights={
            query.query_id: round(float(weight), 12)
            for query, weight in zip(queries, people.weights, strict=True)
        },
        departments=departments,
        notes=tuple(notes),
    )
    return plan, book


def _draw(drawn: Drawn, departments: Mapping[str, str], book: PairBook) -> Draw:
    query = drawn.query
    shown = [slot for slot in drawn.slots if slot < len(query.results)]
    return Draw(
        query.query_id,
        departments[query.query_id],
        drawn.stream,
        tuple(book.add(query, query.results[slot], CANDIDATE) for slot in shown),
        drawn.slots,
        len(drawn.slots) - len(shown),
    )


def _anchor(
    binding: Binding,
    found: AnchorAnswers | None,
    answers: Mapping[str, Answer],
    traffic: Mapping[str, float],
    listed: Mapping[str, Result],
    panel: Sequence[Drawn],
    book: PairBook,
    config: GateConfig,
    rng: np.random.Generator,
) -> Anchor:
    if found is None or not found.anchor.version:
        return Anchor(margin=config.anchor_margin)
    if found.anchor.manifest_digest == binding.incumbent_digest:
        return found.anchor
    before = found.for_queries(answers.values(), listed)
    contest = draw_contest(
        answers, before, traffic, listed, panel, book, config, rng, margin=found.anchor.margin
    )
    return replace(
        found.anchor,
        churn=contest.churn,
        coverage=contest.coverage,
        comparisons=contest.comparisons,
    )


def _mark_cached(book: PairBook, earlier: Earlier, config: GateConfig, ticket: str) -> None:
    """Marks the pairs that need no rating: earlier judgements cover them, and the lot spares them.

    The lot hangs on the pair and on what is judged, not on what was said.
    """

    def spared(pair: Pair) -> bool:
        lot = int(sha256_bytes(f"rerate:{ticket}:{pair.task_id}".encode())[:12], 16) / 16**12
        return lot >= config.rerate

    for task_id, pair in book.pairs.items():
        covered = earlier.history.covers(pair.images, ratings=config.ratings_per_pair)
        if covered and spared(pair):
            book.pairs[task_id] = replace(pair, cached=True)


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
