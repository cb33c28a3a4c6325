"""The steps' pages in a real browser: they fit a phone and the pipeline UI's frame."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from components.contracts import page
from components.embed.report import histogram
from components.evaluate.forest import Bar, forest
from components.train.report import training_report

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-device-scale-factor=1",
)  # fmt: skip
# In a frame as the pipeline UI shows it: without scripts of its own, measured from outside.
FRAME = (
    '<!doctype html><body style="margin:0"><iframe srcdoc="{page}" style="width:100%;height:800px;'
    'border:0"></iframe><script>addEventListener("load",()=>{{const d=document.querySelector('
    '"iframe").contentDocument.documentElement;document.title=`wide ${{d.scrollWidth}} of '
    "${{innerWidth}} tall ${{d.scrollHeight}}`}})</script></body>"
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


@pytest.mark.parametrize("width", [500, 1280])
@pytest.mark.parametrize("make", [evaluation, embeddings, training])
def test_a_page_fits_its_frame(make, width: int, tmp_path: Path) -> None:
    text = make()
    assert len(text) < 2_000_000
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(page=text.replace("&", "&amp;").replace('"', "&quot;")))
    run = subprocess.run(
        [
            str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900", "--virtual-time-budget=2000", "--dump-dom",
            frame.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    measured = re.search(r"wide (\d+) of (\d+) tall (\d+)", run.stdout)
    assert measured, run.stderr[-2000:]
    wide, given, tall = map(int, measured.groups())
    assert wide <= given
    assert tall > 200
