from __future__ import annotations

import json

import pytest

from components.contracts.errors import LookalikeError
from components.promote.promote import PromotionOutcome
from components.promote.report import movement, render
from components.registry.registry import Registry


@pytest.fixture
def registry(tmp_path, make_bundle):
    registry = Registry.open(str(tmp_path / "registry"))
    for version in ("v1", "v2"):
        registry.publish_bundle(make_bundle(tmp_path / "built", version, items=["a"]))
    items = {
        "v1": [("a", "1", "sofa"), ("b", "1", "sofa"), ("c", "1", "lamp")],
        "v2": [("a", "1", "sofa"), ("b", "2", "sofa"), ("d", "1", "<vase>"), ("e", "1", "<vase>")],
    }
    for version, rows in items.items():
        lines = [{"item_id": i, "content_hash": h, "taxon_id": t} for i, h, t in rows]
        text = "\n".join(json.dumps(line) for line in lines)
        registry.store.write(f"bundles/{version}/items.jsonl", text.encode())
    return registry


def test_items_are_counted_by_what_became_of_them(registry):
    moved = movement(registry, "v1", "v2")

    # a is as it was, b has a new picture, c is gone, d and e are new.
    assert (moved.added, moved.removed, moved.changed, moved.same) == (2, 1, 1, 1)
    assert moved.by_type == (("<vase>", 0, 2), ("lamp", 1, 0))


def test_the_first_version_adds_everything(registry):
    moved = movement(registry, "", "v2")

    assert (moved.added, moved.removed, moved.changed, moved.same) == (4, 0, 0, 0)


def test_a_list_of_items_that_cannot_be_read_is_named(registry):
    registry.store.write("bundles/v2/items.jsonl", b"[")

    with pytest.raises(LookalikeError, match=r"bundles/v2/items\.jsonl"):
        movement(registry, "v1", "v2")


def test_the_page_shows_what_moved_and_the_way_back(registry, make_verdict):
    outcome = PromotionOutcome("promoted", ("the <policy> is new",), "v2", "v1")
    page = render(
        registry, outcome, channel="shop", verdicts=[make_verdict("offline", "v2", "d" * 64)]
    )

    assert "Promoted: v2 is live on shop, after v1" in page
    assert "items with a new picture" in page
    assert "&lt;vase&gt;" in page
    assert "<vase>" not in page
    assert "the &lt;policy&gt; is new" in page
    assert f"lookalike index rollback --registry {registry.uri} --channel shop" in page
    assert "http://" not in page.replace(registry.uri, "")


def test_a_refusal_says_what_stays_and_offers_no_way_back(registry):
    page = render(
        registry, PromotionOutcome("refused", ("too old",), "v2", "v1"), channel="shop", verdicts=[]
    )

    assert "Refused: v2; v1 stays live on shop" in page
    assert "rollback" not in page


def test_what_cannot_be_compared_is_said_and_stops_nothing(registry):
    registry.store.write("bundles/v2/items.jsonl", b"[")
    page = render(
        registry, PromotionOutcome("promoted", (), "v2", "v1"), channel="shop", verdicts=[]
    )

    assert "cannot be compared" in page
