"""The report's words, and that what it shows is escaped and drawn."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from components.contracts.verdict import Check, Verdict
from components.human_eval.chart import line_chart
from components.human_eval.report import Findings, decision


def findings(status, *checks):
    verdict = Verdict("human", status, "v1", "1" * 64, "", checks, "now", "tests")
    return Findings(None, verdict, verdict, None, (), {}, (), 0.0, {})


SEEN = Check("similarity", "pass", "x", observed=0.412, requirement="> 0.560")


def test_a_pass_in_two_sentences():
    assert decision(findings("pass", SEEN)) == (
        "Of the results shown, 41% were judged similar to the photo, where more than 56% is "
        "required. All 1 checks hold, so this version may go live."
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("fail", "must not go live: the busiest rater gave 40% of the counted labels."),
        ("undecided", "too early to decide: the busiest rater gave 40%"),
        ("expired", "ended without a decision, so this version does not go live: the busiest"),
    ],
)
def test_anything_else_says_why(status, words):
    why = Check("largest_rater_share", status, "the busiest rater gave 40% of the counted labels")
    assert words in decision(findings(status, SEEN, why))


def test_without_a_score_it_says_so():
    why = Check("similarity", "undecided", "nothing has been judged completely yet")
    assert decision(findings("undecided", why)).startswith("Not enough has been rated")


def test_a_chart_is_well_formed_and_inside_its_frame():
    chart = line_chart(
        "A <title>", [([1, 2, 3], [0.0, 50.0, -50.0], "red", "a & b")], [(1.3, "passes")]
    )
    svg = ElementTree.fromstring(chart[chart.index("<svg") :])
    line = next(element for element in svg.iter() if element.tag == "polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    assert all(0 <= x <= 720 and 0 <= y <= 260 for x, y in points)
    # Higher values lie higher up, where y is smaller.
    assert points[1][1] < points[0][1] < points[2][1]
    assert "A &lt;title&gt;" in chart
