"""Golds: pairs whose grade is known, hidden among the live ones.

| source | grade | what it is |
|---|---|---|
| `checked` | as agreed | a pair on which every rater of an earlier campaign agreed: a hard one |
| `view` | 3 | another view of the query's product that the search did not bring up |
| `crop` | 3 | a part of the query's own image, mirrored: where products have one image only |
| `far` | 0 | an item of another department |

A third of either side is checked pairs, as far as there are so many. Crops are so easy that they
say whether a rater looks at all, not how good the labels are: they qualify raters, measure nothing.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from components.contracts.catalog import Item
from components.contracts.files import sha256_bytes
from components.contracts.images import read_image
from components.human_eval.answers import Answer, Result
from components.human_eval.config import GateConfig
from components.human_eval.pairs import UNKNOWN_DEPARTMENT, PairBook, Shop, stem_of
from components.human_eval.plan import CANDIDATE
from components.human_eval.raters import SIMILAR

VIEW, FAR, CHECKED, CROP = "view", "far", "checked", "crop"
_CHECKED_SHARE = 1 / 3
_ROUNDS = 8


def add_golds(
    queries: Sequence[Answer],
    shop: Shop,
    book: PairBook,
    config: GateConfig,
    rng: np.random.Generator,
    *,
    checked: Mapping[tuple[str, str], int] | None = None,
) -> None:
    """Adds as many golds of either side as the pool asks for and the shop can give.

    Pairs that are judged are no golds, so the views are those that the search did not bring up: the
    harder ones.

    Args:
        queries: The queries.
        shop: The checked catalog.
        book: Gets the golds.
        config: The policy.
        rng: Of every choice.
        checked: Known grades by the content hashes of two images, from earlier campaigns.
    """
    wanted = config.gold_pool // 2
    by_product: dict[str, list[Item]] = {}
    by_department: dict[str, list[Item]] = {}
    for item in shop.items:
        by_product.setdefault(item.product_id, []).append(item)
        by_department.setdefault(shop.department(item.taxon_id), []).append(item)
    order = [queries[i] for i in rng.permutation(len(queries))]
    for positive in (True, False):
        made = _add_checked(
            order, shop, book, checked or {}, positive, round(wanted * _CHECKED_SHARE)
        )
        # Several rounds: one gold a query as far as that goes.
        for _ in range(_ROUNDS):
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
                result = _result(choices[rng.integers(len(choices))])
                if book.key(query, result) not in book.pairs:
                    grade, source = (3, VIEW) if positive else (0, FAR)
                    book.add(query, result, CANDIDATE, gold=grade, source=source)
                    made += 1
        if made < wanted:
            made += _add_checked(order, shop, book, checked or {}, positive, wanted - made)
        if positive and made < wanted:
            _add_crops(order, book, wanted - made)


def _result(item: Item) -> Result:
    return Result(item.item_id, item.product_id, item.image, item.content_hash)


def _add_checked(
    order: Sequence[Answer],
    shop: Shop,
    book: PairBook,
    checked: Mapping[tuple[str, str], int],
    positive: bool,
    most: int,
) -> int:
    """Adds pairs whose grade raters agreed on before; returns how many."""
    if not checked or most <= 0:
        return 0
    items: dict[str, Item] = {}
    for item in shop.items:
        items.setdefault(stem_of(item.content_hash), item)
    by_query: dict[str, list[tuple[str, int]]] = {}
    for (shown, found), grade in sorted(checked.items()):
        if (grade >= SIMILAR) == positive:
            by_query.setdefault(shown, []).append((found, grade))
    made = 0
    for query in order:
        for stem, grade in by_query.get(stem_of(query.content_hash), ()):
            if made >= most:
                return made
            sold = items.get(stem)
            if sold is None or book.key(query, _result(sold)) in book.pairs:
                continue
            book.add(query, _result(sold), CANDIDATE, gold=grade, source=CHECKED)
            made += 1
    return made


def _add_crops(order: Sequence[Answer], book: PairBook, most: int) -> None:
    for query in order[:most]:
        data = cropped(read_image(query.image))
        digest = sha256_bytes(data)
        result = Result(f"crop-of-{query.query_id}", query.product_id, f"{digest}.png", digest)
        if book.key(query, result) not in book.pairs:
            book.add(query, result, CANDIDATE, gold=3, source=CROP, data=data)


def cropped(data: bytes) -> bytes:
    """Returns the middle seven eighths of an image, mirrored, as PNG.

    Args:
        data: An image that the catalog step let through.
    """
    with Image.open(io.BytesIO(data)) as image:
        upright = image.convert("RGB")
    width, height = upright.size
    box = (width // 16, height // 16, width - width // 16, height - height // 16)
    buffer = io.BytesIO()
    upright.crop(box).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(buffer, format="PNG")
    return buffer.getvalue()


def _elsewhere(
    by_department: Mapping[str, list[Item]], department: str, rng: np.random.Generator
) -> list[Item]:
    others = [
        name for name in sorted(by_department) if name not in (department, UNKNOWN_DEPARTMENT)
    ]
    if not others or department == UNKNOWN_DEPARTMENT:
        return []
    return by_department[others[rng.integers(len(others))]]
