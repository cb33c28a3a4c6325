"""Golds: other views and far items, checked ones first, crops where there is one view."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from components.human_eval.answers import Answer, read_answers
from components.human_eval.golds import add_golds, cropped
from components.human_eval.pairs import PairBook, Shop, stem_of


@pytest.fixture
def queries(tiny, tmp_path):
    return list(
        read_answers(tiny.answers(tmp_path / "a.jsonl", 1.0), kind="shopper", results=5).values()
    )


def book_of(queries, binding):
    departments = {query.query_id: query.taxon_id[:2] for query in queries}
    return PairBook(binding, {name: name for name in departments.values()}, departments)


def golds_of(queries, shop, binding, config, **options):
    book = book_of(queries, binding)
    add_golds(queries, shop, book, config, np.random.default_rng(1), **options)
    return book, list(book.pairs.values())


def test_views_of_the_product_are_similar_and_other_departments_are_not(
    queries, tiny, binding, policy
):
    config = policy()
    _, golds = golds_of(queries, tiny.shop, binding, config)
    product = {q.query_id: q.product_id for q in queries}
    department = {q.query_id: q.taxon_id[:2] for q in queries}
    sides = {3: [], 0: []}
    for gold in golds:
        sides[gold.gold].append(gold)
    assert len(sides[3]) == len(sides[0]) == config.gold_pool // 2
    assert all(g.source == "view" and g.item_id[:-2] == product[g.query_id] for g in sides[3])
    assert all(g.source == "far" and g.item_id[:2] != department[g.query_id] for g in sides[0])


def test_what_is_judged_is_no_gold(queries, tiny, binding, policy):
    book = book_of(queries, binding)
    query = queries[0]
    judged = {book.add(query, result, "candidate") for result in query.results}
    add_golds(queries, tiny.shop, book, policy(), np.random.default_rng(1))
    assert all(book.pairs[task].gold is None for task in judged)


def test_a_third_of_a_side_is_what_raters_agreed_on_before(queries, tiny, binding, policy):
    config = policy()
    sold = {item.item_id: item for item in tiny.items}

    def stems(query: Answer, item: str) -> tuple[str, str]:
        return stem_of(query.content_hash), stem_of(sold[item].content_hash)

    # 30 pairs of one leaf on which raters agreed that they are similar: grade 2.
    checked = {
        stems(query, next(r.item_id for r in query.results if r.product_id != query.product_id)): 2
        for query in queries[:30]
    }
    _, golds = golds_of(queries, tiny.shop, binding, config, checked=checked)
    found = [gold for gold in golds if gold.source == "checked"]
    assert len(found) == min(30, round(config.gold_pool // 2 / 3))
    assert {gold.gold for gold in found} == {2}
    assert sum(gold.gold > 0 for gold in golds) == config.gold_pool // 2


def test_one_view_alone_gives_crops(queries, tiny, binding, policy):
    config = policy()
    # Nothing is sold: there is no other view and nothing in another department.
    shop = Shop([], tiny.taxonomy)
    book, golds = golds_of(queries, shop, binding, config)
    assert {(gold.gold, gold.source) for gold in golds} == {(3, "crop")}
    assert len(golds) == min(config.gold_pool // 2, len(queries))
    assert set(book.made) == {gold.result_image for gold in golds}


def test_a_crop_is_the_middle_mirrored():
    pixels = np.zeros((32, 16, 3), dtype=np.uint8)
    # Red stands at the left, inside of what is cut away at the edge: 1 of 16 columns, 2 of 32 rows.
    pixels[:, 1:3] = (255, 0, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    with Image.open(io.BytesIO(cropped(buffer.getvalue()))) as image:
        found = np.asarray(image)
    assert found.shape == (28, 14, 3)
    assert (found[:, -2:] == (255, 0, 0)).all()
    assert not found[:, :-2].any()
