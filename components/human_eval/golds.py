"""Golds: pairs whose grade is known, hidden among the live ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from components.contracts.catalog import Item
from components.human_eval.answers import Answer, Result
from components.human_eval.config import GateConfig
from components.human_eval.pairs import UNKNOWN_DEPARTMENT, PairBook, Shop
from components.human_eval.plan import CANDIDATE


def add_golds(
    queries: Sequence[Answer],
    shop: Shop,
    book: PairBook,
    config: GateConfig,
    rng: np.random.Generator,
) -> None:
    """Adds golds: the same product in another view (3), and another department (0).

    Pairs that are judged are no golds, so the positives are views that the search did not bring up:
    the harder ones. As many of either kind as the pool asks for and the catalog can give.
    """
    wanted = config.gold_pool // 2
    by_product: dict[str, list[Item]] = {}
    by_department: dict[str, list[Item]] = {}
    for item in shop.items:
        by_product.setdefault(item.product_id, []).append(item)
        by_department.setdefault(shop.department(item.taxon_id), []).append(item)
    order = [queries[i] for i in rng.permutation(len(queries))]
    for positive in (True, False):
        made = 0
        # Several rounds: one gold a query as far as that goes.
        for _ in range(8):
            for query in order:
                if made >= wanted:
                    break
                pool = (
                    by_product.get(query.product_id, [])
                    if positive
                    else _elsewhere(by_department, shop.department(query.taxon_id), rng)
                )
                choices = [item for item in pool if item.content_hash != query.content_hash]
                if not choices:
                    continue
                item = choices[rng.integers(len(choices))]
                result = Result(item.item_id, item.product_id, item.image, item.content_hash)
                if book.key(query, result) not in book.pairs:
                    book.add(query, result, CANDIDATE, gold=3 if positive else 0)
                    made += 1


def _elsewhere(
    by_department: Mapping[str, list[Item]], department: str, rng: np.random.Generator
) -> list[Item]:
    others = [
        name for name in sorted(by_department) if name not in (department, UNKNOWN_DEPARTMENT)
    ]
    if not others or department == UNKNOWN_DEPARTMENT:
        return []
    return by_department[others[rng.integers(len(others))]]
