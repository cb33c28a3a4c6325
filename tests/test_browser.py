"""Pages in a real browser: they fit a phone, and nothing in them is fetched from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from components.contracts import page
from components.contracts.verdict import Check, Verdict, to_html

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip
# Written into the page's title by the page itself, to be read from the dumped document.
MEASURE = (
    "<script>addEventListener('load',()=>{const d=document.documentElement;"
    "document.title=`wide ${d.scrollWidth} of ${innerWidth} colour "
    "${getComputedStyle(document.body).backgroundColor}`})</script>"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


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
    path.write_text(page.page("REFUSED: " + "a-version-without-any-space-" * 3, body + MEASURE))
    return path


def title(path: Path, profile: Path, width: int) -> str:
    run = subprocess.run(
        [
            str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},900",
            "--virtual-time-budget=2000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r"<title>(.*?)</title>", run.stdout, re.DOTALL)
    assert found, run.stderr[-2000:]
    return found.group(1)


@pytest.mark.parametrize("width", [500, 1280])
def test_a_report_never_scrolls_sideways_as_a_whole(report, tmp_path, width):
    measured = re.match(r"wide (\d+) of (\d+)", title(report, tmp_path / "profile", width))

    assert measured
    assert int(measured[1]) <= int(measured[2])


def test_a_report_fetches_nothing(report):
    text = report.read_text()

    assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
    assert "@import" not in text
    assert "url(" not in text
