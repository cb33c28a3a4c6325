from components.train.report import chart, training_report
from tests.components.train.test_model_card import HISTORY, card


def test_the_report_is_one_page_with_curves():
    page = training_report(card=card(HISTORY), history=HISTORY)
    assert page.count("<svg") == 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert "noise 0.1" in page
    assert "87.5%" in page
    # The tiles: images and steps a second.
    assert "<b>100</b>" in page
    assert "<b>3.12</b>" in page
    assert "<td>Seats</td>" in page
    assert "75.0%" in page


def test_a_run_without_steps_has_a_report_too():
    page = training_report(card=card([]), history=[])
    assert "No step was taken" in page
    assert "<svg" not in page


def test_an_encoder_of_an_earlier_version_has_a_report_too():
    """Mode reuse copies an encoder that was written without some of the figures."""
    old = [
        {k: v for k, v in record.items() if k not in ("steps_per_second", "scaling_efficiency")}
        for record in HISTORY
    ]
    page = training_report(
        card={k: v for k, v in card(old).items() if k != "empty_leaves"}, history=old
    )
    assert "images a second" in page
    assert "steps a second" not in page
    assert "leaves of the taxonomy" not in page


def test_the_report_tells_of_leaves_without_an_example():
    page = training_report(card=card(HISTORY), history=HISTORY)
    assert "2 of the 5 leaves" in page
    assert "Seats &gt; &lt;Pouffes&gt;" in page


def test_a_chart_places_its_points():
    # 0 to 10 on the vertical axis takes 178 pixels down from 8; the last x is at the right edge.
    svg = chart("A < B", {"one": [(1.0, 10.0), (2.0, 5.0)]})
    assert "A &lt; B" in svg
    assert 'points="243.0,8.0 452.0,97.0"' in svg
    # What a curve came to stands beside the title.
    assert "one 5" in svg[: svg.index("<svg")]
    assert chart("empty", {"one": []}) == ""


def test_the_report_shows_what_is_taken_for_what():
    confusions = {
        "images": 10,
        "right": 7,
        "pairs": [{"label": "a", "guess": "b", "times": 3, "of": 4}],
        "leaves": ["a", "b"],
        "matrix": [[1, 3], [0, 6]],
        "totals": [4, 6],
        "names": {"a": "Seats > <Sofas>", "b": "Seats > Stools"},
    }
    page = training_report(card=card(HISTORY), history=HISTORY, confusions=confusions)
    assert "right for 70.0% of 10 images" in page
    assert "Seats &gt; &lt;Sofas&gt; taken for Seats &gt; Stools: 3 of 4" in page
    assert "<td>leaf</td><td>40.0%</td><td>30.0%</td>" in page
    assert "<Sofas>" not in page
    without = training_report(card=card(HISTORY), history=HISTORY)
    assert "nothing to tell" in without
