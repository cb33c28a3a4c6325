import re

import numpy as np
import pytest

from components.contracts.catalog import Item, Reject
from components.contracts.embeddings import Embeddings
from components.contracts.images import ImageLimits
from components.contracts.taxonomy import Taxonomy
from components.embed.report import Before, histogram, render

TABLE = "taxon_id,parent_id,name\nroot,,All\nseat,root,Seats\nsofa,seat,Sofas\nlamp,root,Lamps\n"
FIGURES = {
    "items": 3.0, "queries": 2.0, "reused": 1.0, "computed": 4.0, "images_per_second": 12.3,
    "dead_letters": 1.0, "norm_min": 0.9999999, "norm_max": 1.0000001,
}  # fmt: skip


@pytest.fixture
def show(tmp_path):
    (tmp_path / "taxonomy.csv").write_text(TABLE)
    items = [
        Item("same", "same.png", "a", "sofa", "p1"),
        Item("changed", "changed.png", "b2", "sofa", "p2"),
        Item("new", "new.png", "c", "lamp", "p3"),
        Item("dead", "dead.png", "d", "root", "p4"),
    ]
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    embedded = Embeddings(("same", "changed", "new"), ("a", "b2", "c"), vectors)

    def page(before, computed=("changed", "new", "dead"), **figures):
        return render(
            items=items,
            taxonomy=Taxonomy.read(tmp_path / "taxonomy.csv"),
            embedded=embedded,
            computed=frozenset(computed),
            figures={**FIGURES, **figures},
            dead=[Reject("item", "dead", "items", 0, "undecodable_image", "<broken>")],
            before=before,
            limits=ImageLimits(),
        )

    page.vectors = vectors
    return page


def row(page, name):
    found = re.search(rf"<tr><td>{re.escape(name)}</td>(.*?)</tr>", page)
    return re.findall(r">([^<]*)</td>", found.group(1))


def test_what_was_reused_and_what_was_new(show):
    before = Before(show.vectors, True, {"same": "a", "changed": "b1", "gone": "x"})
    page = show(before, drift=0.0123)
    # items, taken over, new, changed, without a vector
    assert row(page, "Seats")[:5] == ["2", "1", "0", "1", "0"]
    assert row(page, "Lamps")[:5] == ["1", "0", "1", "0", "0"]
    assert row(page, "(no label)")[:5] == ["1", "0", "1", "0", "1"]
    # The mean of (1, 0) and (0.6, 0.8) is (0.8, 0.4), of length 0.894.
    assert row(page, "Seats")[5] == "0.8944"
    assert "0.012" in page
    assert "only new and changed images" in page
    assert "&lt;broken&gt;" in page
    assert 'src="http' not in page
    assert len(page) < 2_000_000


def test_the_first_run_and_another_encoder_say_so(show):
    assert "Nothing is live" in show(None, computed=("same", "changed", "new", "dead"))
    other = show(Before(show.vectors, False, {"same": "a"}), computed=("same", "changed", "new"))
    assert "there is no drift to tell" in other
    assert "drift of the catalog" not in other


def test_nothing_new(show):
    page = show(Before(show.vectors, True, {}), computed=())
    assert "None: the catalog" in page


def test_the_histogram_has_equal_areas():
    svg = histogram(np.array([0.91, 0.92, 0.93, 0.01]), np.array([0.92]))
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill', svg)]
    # Three of four in one bin, one in another; the line's bin holds all and sets the scale.
    tall, small = sorted(heights)[-1], sorted(heights)[-2]
    assert tall == pytest.approx(3 * small, rel=0.01)
    assert "<polyline" in svg
    assert "<polyline" not in histogram(np.array([0.9]), np.empty(0))
