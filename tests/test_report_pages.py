"""The steps' pages in a real browser: they fit a phone and the pipeline UI's frame."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from components.contracts import page
from components.embed.report import histogram
from components.evaluate.forest import Bar, forest
from components.train.report import training_report
from tests.chromium import CHROMIUM, Browser

# As the pipeline UI shows it: in a frame, without scripts of its own.
FRAME = (
    '<!doctype html><meta name="viewport" content="width=device-width"><body style="margin:0">'
    '<iframe srcdoc="{page}" style="width:100%;height:800px;border:0"></iframe>'
)
MEASURE = (
    "(()=>{const d=document.querySelector('iframe').contentDocument.documentElement;"
    "return [d.scrollWidth,d.scrollHeight]})()"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


def evaluation() -> str:
    bars = [
        Bar(f"Department with a long name {n}", n / 50 - 0.1, n / 50 - 0.2, n / 50, "9 queries")
        for n in range(14)
    ]
    return page.page("Evaluation", forest(bars))


def embeddings() -> str:
    rng = np.random.default_rng(0)
    return page.page("Embeddings", histogram(rng.uniform(-1, 1, 99), rng.uniform(0, 1, 99)))


def training() -> str:
    leaves = [f"leaf{n}" for n in range(12)]
    history = [
        {
            "epoch": n, "loss": 3.0 / n, "learning_rate": 0.1, "images_per_second": 100.0,
            "input_stall_share": 0.02, "train": {"leaf": 0.5}, "unseen": {"leaf": 0.4},
        }
        for n in (1, 2, 3)
    ]  # fmt: skip
    confusions = {
        "images": 120, "right": 60, "leaves": leaves, "totals": [10] * 12,
        "matrix": [[5 if row == column else 1 for column in range(12)] for row in range(12)],
        "pairs": [{"label": "leaf0", "guess": "leaf1", "times": 1, "of": 10}],
        "names": {leaf: f"Department > A type with a long name {leaf}" for leaf in leaves},
    }  # fmt: skip
    card = {"mode": "scratch", "trained": {"examples": 10}, "parameters": {"depth": 18}}
    return training_report(card=card, history=history, confusions=confusions)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize("width", [500, 1280])
@pytest.mark.parametrize("make", [evaluation, embeddings, training])
def test_a_page_fits_its_frame(browser, make, width: int, tmp_path: Path) -> None:
    text = make()
    assert len(text) < 2_000_000
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=text.replace("&", "&amp;").replace('"', "&quot;")))

    browser.size(width)
    browser.open(frame.as_uri())
    wide, tall = browser.run(MEASURE)

    assert wide <= width
    assert tall > 200
    assert browser.complaints() == []
