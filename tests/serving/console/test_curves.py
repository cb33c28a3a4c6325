from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from serving.console.curves import chart, recall_and_latency, training

POINTS = [{"p50_ms": 0.1, "recall": 0.9}, {"p50_ms": 0.4, "recall": 0.99}]
CURVE = {"chosen": 1, "recall_at": 10, "recall_target": 0.95, "points": POINTS}


def places(svg):
    (points,) = re.findall('points="(.*?)"', svg)
    return [tuple(float(value) for value in point.split(",")) for point in points.split()]


def test_better_is_higher_and_slower_is_further_right():
    first, second = places(recall_and_latency(CURVE))
    assert first[0] < second[0]
    assert first[1] > second[1]


def test_the_chosen_point_and_the_target_are_marked():
    svg = recall_and_latency(CURVE)
    assert "target 0.95" in svg
    assert "chosen: 0.4, 0.99" in svg
    ElementTree.fromstring(re.search("<svg.*</svg>", svg)[0])


@pytest.mark.parametrize(
    "value", [None, [], {}, {"points": []}, {**CURVE, "chosen": 9}, {**CURVE, "points": [1]}]
)
def test_what_is_no_curve_is_left_out(value):
    assert recall_and_latency(value) == ""


def test_training_shows_the_loss_and_the_shares():
    entries = [{"epoch": n, "loss": 3 / n, "train": {"leaf": n / 9}} for n in (1, 2, 3)]
    loss, shares = training([*entries, {"epoch": "x"}, 5])
    assert len(places(loss)) == len(places(shares)) == 3
    assert training({"a": 1}) == []


def test_names_are_escaped_and_what_is_not_finite_is_left_out():
    nan = float("nan")
    svg = chart({"<b>": [(0, 1), (1, nan), (2, 3)], "x": [(0, 1)]}, title="<i>", across="<u>")
    for tag in ("<b>", "<i>", "<u>"):
        assert tag not in svg
    assert "nan" not in svg
    assert chart({"a": [(nan, nan)]}, title="", across="") == ""


def test_one_point_and_a_flat_line_are_drawn():
    for points in ([(2.0, 5.0)], [(0.0, 0.0), (1.0, 0.0)]):
        for x, y in places(chart({"a": points}, title="", across="")):
            assert 0 <= x <= 520
            assert 0 <= y <= 260
