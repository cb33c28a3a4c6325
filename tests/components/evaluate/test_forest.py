import re

import pytest

from components.evaluate.forest import Bar, forest


def test_points_stand_where_they_should():
    svg = forest([Bar("A < B", 0.0, -0.1, 0.1, "5 queries"), Bar("C", 0.2, 0.1, 0.2)])
    # The reach is 0.2 times 1.05 on each side of zero, over 380 pixels from 230 on.
    points = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', svg)]
    assert points == pytest.approx([420.0, 420 + 190 / 1.05], abs=0.1)
    assert "A &lt; B" in svg
    assert "5 queries" in svg


def test_colours_say_which_side_of_zero():
    svg = forest([Bar("w", -0.2, -0.3, -0.1), Bar("b", 0.2, 0.1, 0.3), Bar("n", 0.0, -0.1, 0.1)])
    assert re.findall(r'r="5" fill="var\(--(\w+)\)"', svg) == ["fail", "pass", "muted"]


def test_nothing_and_no_change():
    assert forest([]) == ""
    assert "<circle" in forest([Bar("same", 0.0, 0.0, 0.0)])
