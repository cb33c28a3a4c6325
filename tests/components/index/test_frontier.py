import re
from xml.etree import ElementTree

from components.index.frontier import Mark, Series, best, draw


def test_the_frontier_by_hand():
    fast, slow, beaten, exact = (
        Mark(0.9, 1.0, "fast"),
        Mark(0.95, 2.0, "slow"),
        Mark(0.94, 2.5, "beaten"),
        Mark(1.0, 9.0, "exact"),
    )
    assert best([beaten, exact, fast, slow]) == [exact, slow, fast]
    assert best([Mark(0.9, 1.0, "a"), Mark(0.9, 1.5, "b")]) == [Mark(0.9, 1.0, "a")]


def test_the_picture_shows_every_mark_the_target_and_the_chosen_one():
    marks = [Mark(0.9, 0.5, "a <b>"), Mark(0.999, 3.0, "c")]
    picture = draw(
        [Series("one & two", marks), Series("exact", [Mark(1.0, 20.0, "all")])],
        target=0.98,
        chosen=marks[1],
    )
    root = ElementTree.fromstring(f"<div>{picture}</div>")  # Well-formed, so all is escaped.
    titles = [element.text for element in root.iter("title")]
    assert "a <b>: recall 0.9000, 0.5 ms" in titles
    assert "chosen: c: recall 0.9990, 3 ms" in titles
    assert "one & two" in "".join(root.itertext())
    assert "target 0.98" in picture
    assert len(list(root.iter("polyline"))) == 2


def test_better_recall_is_higher_and_slower_is_further_right():
    picture = draw([Series("s", [Mark(0.9, 0.5, "a"), Mark(0.99, 5.0, "b"), Mark(0.2, 1.0, "c")])])
    [(line)] = re.findall(r'polyline points="([^"]+)"', picture)
    (bx, by), (ax, ay) = (map(float, pair.split(",")) for pair in line.split())
    assert bx > ax
    assert by < ay


def test_one_mark_is_a_picture():
    assert "<svg" in draw([Series("s", [Mark(1.0, 0.0, "a")])], target=1.0)
