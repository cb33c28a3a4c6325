"""Pages in a real browser: they fit a phone, and nothing in them is fetched from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.contracts import page
from components.contracts.verdict import Check, Verdict, to_html
from tests.chromium import CHROMIUM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def report(tmp_path) -> Path:
    """A report with everything that can grow wide: a verdict, tiles, a table, pictures, a code."""
    checks = tuple(
        Check(
            f"check_with_a_long_name_{number}",
            "pass" if number else "fail",
            "a reason in many words that has to wrap somewhere on a narrow screen " * 2,
            slice="some_department",
            observed=0.123456,
            lower=0.1,
            upper=0.2,
            requirement=">= 0.98",
            incumbent=0.5,
        )
        for number in range(3)
    )
    verdict = Verdict("offline", "fail", "v" * 40, "0" * 64, "", checks, "2026-11-22", "test")
    picture = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    body = (
        to_html(verdict)
        + page.tiles([("99.1%", "a figure with a long label under it")] * 9)
        + page.table(["name", "figure"], [("x" * 60, 1.5)])
        + page.sheet([page.figure(picture, "a caption")] * 20)
    )
    path = tmp_path / "report.html"
    path.write_text(page.page("REFUSED: " + "a-version-without-any-space-" * 3, body))
    return path


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_a_report_never_scrolls_sideways_as_a_whole(browser, report, width):
    browser.size(width)
    browser.open(report.as_uri())

    assert browser.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_why_a_check_failed_is_read_without_scrolling_sideways(browser, report, width):
    browser.size(width)
    browser.open(report.as_uri())
    reason = browser.run(
        "(()=>{const r=document.querySelector('.verdict td:last-child').getBoundingClientRect();"
        "return {right:r.right,width:r.width}})()"
    )

    assert reason["right"] <= width
    assert reason["width"] >= 200
    label = browser.run(
        "getComputedStyle(document.querySelector('[data-label=required]'),'::before').content"
    )
    assert ("required" in label) == (width < 1280)


def test_a_report_is_dark_where_people_prefer_that(browser, report):
    colours = []
    for dark in (False, True):
        browser.size(1280, dark=dark)
        browser.open(report.as_uri())
        colours.append(browser.run("getComputedStyle(document.body).backgroundColor"))

    assert colours == ["rgb(255, 255, 255)", "rgb(18, 21, 28)"]


def test_a_report_fetches_nothing(report):
    text = report.read_text()

    assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
    assert "@import" not in text
    assert "url(" not in text
