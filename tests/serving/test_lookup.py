from __future__ import annotations

import pytest

from components.search.query import Wanted
from serving import lookup
from serving.problems import Problem
from serving.question import Question


@pytest.fixture
def bundle(maker):
    return maker.loaded("v1")


def test_an_item_is_found_by_its_id(bundle):
    assert lookup.item(bundle, "red1").item_id == "red1"
    assert bundle.items[lookup.position(bundle, "blue2")].item_id == "blue2"


def test_an_unknown_item_and_a_withdrawn_one_are_refused_differently(bundle):
    with pytest.raises(Problem, match="item 'mauve' is not among the 12 items of version v1") as no:
        lookup.position(bundle, "mauve")
    assert (no.value.status, no.value.reason) == (404, "unknown_item")
    bundle.hide(["red1"])
    with pytest.raises(Problem, match="item 'red1' is withdrawn") as gone:
        lookup.item(bundle, "red1")
    assert (gone.value.status, gone.value.reason) == (410, "withdrawn")


def test_a_filter_is_read_in_the_terms_of_the_bundle(bundle):
    assert lookup.wanted(bundle, Question()) == Wanted(10, "", -1.0, True)
    asked = Question(3, department="Seating", min_score=0.5, exclude_same_product=False)
    assert lookup.wanted(bundle, asked) == Wanted(3, "seating", 0.5, False)
    with pytest.raises(Problem) as caught:
        lookup.wanted(bundle, Question(taxon="carpet"))
    assert (caught.value.status, caught.value.reason) == (422, "unknown_taxon")
    assert "(version v1)" in caught.value.detail
