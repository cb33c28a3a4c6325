from __future__ import annotations

from dataclasses import replace

import pytest

from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.search.query import Limits
from serving import golden


@pytest.fixture
def recorded(maker):
    bundle = maker.loaded("v1")
    directory = maker.root / "bundles" / "v1"

    def check(queries):
        return golden.check_answers(
            lambda vector, k: bundle.find(vector, Limits(k=k)), bundle.items, queries
        )

    return check, golden.read(directory), directory


def test_the_recorded_answers_are_the_answers(recorded, maker):
    check, queries, _ = recorded
    assert 0 < check(queries) < 1
    assert golden.check_encoder(maker.encode, queries) == 1


def test_rounding_is_no_difference_and_more_is(recorded):
    check, queries, _ = recorded
    near = [replace(query, scores=tuple(s + 5e-5 for s in query.scores)) for query in queries]
    check(near)
    far = [replace(query, scores=tuple(s + 2e-4 for s in query.scores)) for query in queries]
    with pytest.raises(InputError, match="q0: place 1: expected the score"):
        check(far)


def test_items_that_are_level_may_change_places_and_others_may_not(recorded):
    check, queries, _ = recorded
    first = queries[0]
    swapped = replace(first, item_ids=(first.item_ids[1], first.item_ids[0], first.item_ids[2]))
    with pytest.raises(InputError, match="which was not recorded so"):
        check([swapped])
    # An item that is level with the last one may stand in its place.
    other = replace(first, item_ids=(*first.item_ids[:2], "somebody-else"))
    check([other])
    # One that is not level with it may not.
    other = replace(first, item_ids=("somebody-else", *first.item_ids[1:]))
    with pytest.raises(InputError, match="which was not recorded so"):
        check([other])


def test_a_shorter_answer_is_a_difference(recorded):
    check, queries, _ = recorded
    many = tuple(str(number) for number in range(50))
    longer = replace(queries[0], item_ids=many, scores=(0.5,) * 50)
    with pytest.raises(InputError, match="expected 50 items, received 6"):
        check([longer])


def test_another_vector_for_a_golden_photo_is_found(recorded, maker):
    _, queries, _ = recorded

    def blind(images):
        return maker.encode([maker.png((128, 128, 128))] * len(images))

    with pytest.raises(InputError, match="the encoder is not the one"):
        golden.check_encoder(blind, queries)


@pytest.mark.parametrize("key", ["query_id", "item_ids", "scores", "image"])
def test_answers_of_another_shape_are_refused(recorded, key):
    _, _, directory = recorded
    content = read_json(directory / "golden/answers.json")
    del content["queries"][1][key]
    write_json(directory / "golden/answers.json", content)
    with pytest.raises(InputError, match=r"answers\.json: expected queries with"):
        golden.read(directory)


def test_fewer_answers_than_queries_are_refused(recorded):
    _, _, directory = recorded
    content = read_json(directory / "golden/answers.json")
    del content["queries"][1]
    write_json(directory / "golden/answers.json", content)
    with pytest.raises(InputError, match="1 answers for 2 queries"):
        golden.read(directory)
