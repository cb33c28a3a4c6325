import json

import pytest
from PIL import Image

from components.catalog.config import CatalogConfig
from components.catalog.drift import Change, Live, compare, stopping, total_variation
from components.catalog.statistics import Statistics
from components.contracts.errors import InputError, LookalikeError


def test_total_variation_by_hand():
    assert total_variation({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 0
    assert total_variation({"a": 1.0}, {"b": 1.0}) == 1
    # |.2-.5| + |.5-.5| + |.3-0| = .6
    assert total_variation({"a": 0.2, "b": 0.5, "c": 0.3}, {"a": 0.5, "b": 0.5}) == pytest.approx(
        0.3
    )


@pytest.mark.parametrize(
    ("distance", "limit", "verdict"),
    [
        (0.31, 0.3, "stop"),
        (0.3, 0.3, "warn"),
        (0.151, 0.3, "warn"),
        (0.15, 0.3, "ok"),
        (1.0, 1.0, "ok"),
        (0.001, 0.0, "stop"),
        (0.0, 0.0, "ok"),
    ],
)
def test_a_change_is_judged_by_its_limit(distance, limit, verdict):
    assert Change("x", distance, limit, "").verdict == verdict


def figures(**shares):
    return Statistics(4, 4, 0.0, shares, {"label": 1.0})


def compared(now, before, **settings):
    live = Live(frozenset({"a", "b", "c", "d"}), before)
    return {
        change.what: change
        for change in compare(
            now,
            live,
            item_ids=["a", "b", "x"],
            names={"t": "Tables"},
            config=CatalogConfig(**settings),
        )
    }


def test_a_bundle_without_figures_tells_what_is_gone():
    changes = compared(figures(), None)
    assert set(changes) == {"items that are gone"}
    assert changes["items that are gone"].distance == 0.5
    assert changes["items that are gone"].verdict == "stop"
    assert compared(figures(), None, max_removed_share=1)["items that are gone"].verdict == "ok"


def test_what_moved_most_is_named_for_people():
    now = figures(label={"t": 0.9, "s": 0.1}, brightness={})
    changes = compared(now, figures(label={"t": 0.5, "s": 0.5}, brightness={"0 to 32": 1.0}))
    assert changes["labels"].distance == pytest.approx(0.4)
    assert changes["labels"].detail == "s 50.0% to 10.0%, Tables 50.0% to 90.0%"
    assert "brightness of the images, 0 to 255" not in changes
    assert "labels moved by 40.0%, more than the 30.0% allowed (s 50" in stopping(
        [*changes.values()]
    )
    assert "column label" not in changes


def test_a_column_that_empties_is_shown_and_labels_that_vanish_stop():
    before = Statistics(4, 4, 0.0, {}, {"title": 1.0, "label": 1.0})
    changes = compared(Statistics(4, 4, 0.5, {}, {"label": 0.25}), before)
    assert changes["column title"].verdict == "ok"
    assert changes["column title"].detail == "filled for 100.0% of the items, now 0.0%"
    assert changes["column label"].verdict == "stop"
    assert changes["rows set aside"].verdict == "stop"
    better = compared(before, Statistics(4, 4, 0.5, {}, {}))
    assert better["rows set aside"].distance == 0


def live_of(shop):
    shop.check()
    ids = frozenset(row[0] for row in shop.items)
    return Live(ids, Statistics.read(shop.output / "statistics.json"))


def test_the_same_catalog_has_not_moved(shop):
    live = live_of(shop)
    shop.check(live=live)
    changes = json.loads((shop.output / "summary.json").read_text())["changes"]
    assert {change["verdict"] for change in changes} == {"ok"}
    assert {change["distance"] for change in changes} == {0.0}
    assert "Since the live version" in shop.report.read_text()


def test_a_catalog_that_shrank_by_half_overnight_stops_unless_told(shop):
    live = live_of(shop)
    shop.items = shop.items[:5]
    shop.queries = []
    with pytest.raises(LookalikeError, match=r"gone moved by 50\.0%, .*max_removed_share"):
        shop.check(live=live)
    assert not (shop.output / "summary.json").exists()
    assert not (shop.output / "statistics.json").exists()
    assert "too far: the run stops" in shop.report.read_text()
    assert shop.check(live=live, max_removed_share=1.0)["items"] == 5


def test_a_shop_whose_pictures_became_dark_thumbnails_stops_with_all_reasons(shop, capsys):
    for number in range(10):
        Image.new("RGB", (400, 400), (250, 250, 250)).save(shop.folder / f"images/i{number}.png")
    live = live_of(shop)
    for number in range(10):
        Image.new("RGB", (40, 40), (9, 9, 9)).save(shop.folder / f"images/i{number}.png")
    with pytest.raises(LookalikeError, match=r"longer side .*brightness .*224 to 256 100\.0% to 0"):
        shop.check(live=live)
    shop.items[0][2] = shop.items[1][2] = "floor-lamp"
    shop.check(live=live, max_drift=1.0)
    assert "warning" not in capsys.readouterr().out


def test_half_of_a_limit_is_a_warning(shop, capsys):
    live = live_of(shop)
    shop.items[0][2] = shop.items[1][2] = "floor-lamp"
    shop.check(live=live)
    assert "warning: labels moved by 20.0%: Floor lamps 20.0% to 40.0%" in capsys.readouterr().out
    assert "look at it" in shop.report.read_text()


@pytest.mark.parametrize("name", ["max_drift", "max_removed_share"])
def test_limits_are_shares(name):
    with pytest.raises(InputError, match=f"catalog.{name}: expected a share from 0 to 1"):
        CatalogConfig(**{name: 1.5})
