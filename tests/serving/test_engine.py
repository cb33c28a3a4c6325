from __future__ import annotations

import numpy as np
import pytest

from components.contracts.images import BadImageError, ImageLimits
from serving.engine import Engine


def ids(hits):
    return [hit.item.item_id for hit in hits]


def test_similar_leaves_out_the_item_and_its_product_and_keeps_one_image_a_product(maker):
    bundle = maker.loaded()
    hits = bundle.similar(bundle.item("red1"), 100)
    assert sorted(hit.item.product_id for hit in hits) == [
        "blue",
        "green",
        "grey",
        "orange",
        "yellow",
    ]
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    # Both oranges by hand; the better one stands for the product.
    red = maker.unit((220, 30, 30))
    assert hits[0].item.product_id == "orange"
    expected = max(red @ maker.unit((230, 130, 30)), red @ maker.unit((211, 119, 27)))
    assert hits[0].score == pytest.approx(float(expected), abs=1e-6)


def test_the_other_image_of_the_same_product_comes_first_when_it_is_wanted(maker):
    bundle = maker.loaded()
    item = bundle.item("red1")
    hits = bundle.similar(item, 3, exclude_same_product=False)
    assert ids(hits)[0] == "red2"
    assert len(hits) == 3
    assert ids(hits)[1:] == ids(bundle.similar(item, 2))


def test_a_photo_finds_the_item_of_its_colour(maker):
    bundle = maker.loaded()
    photo, hits = bundle.search(maker.png((40, 60, 210), (40, 20)), 2, ImageLimits())
    assert (photo.format, photo.width, photo.height) == ("PNG", 40, 20)
    assert ids(hits)[0] == "blue1"
    assert hits[0].score == pytest.approx(1.0, abs=1e-6)


def test_pixels_are_counted_before_they_are_decoded(maker):
    bundle = maker.loaded()
    with pytest.raises(BadImageError) as caught:
        bundle.search(maker.png((1, 2, 3), (40, 40)), 2, ImageLimits(max_pixels=1599))
    assert caught.value.reason == "too_many_pixels"


def test_a_taxon_that_left_the_tree_has_no_path(maker):
    bundle = maker.loaded()
    item = bundle.item("red1")
    assert bundle.taxon_path(item) == "Seating > Sofas <b>"
    object.__setattr__(item, "taxon_id", "gone")
    assert bundle.taxon_path(item) == ""


def test_a_swap_clears_the_failure_and_counts(maker):
    engine = Engine()
    assert engine.describe()["ready"] is False
    engine.status.failed_version, engine.status.failed_reason = "v2", "damaged"
    assert engine.describe()["failed"] == {"version": "v2", "reason": "damaged"}
    engine.swap(maker.loaded("v3"))
    detail = engine.describe()
    assert (detail["ready"], detail["version"], detail["swaps"]) == (True, "v3", 1)
    assert "failed" not in detail
    assert np.isfinite(engine.current.index.vectors).all()
