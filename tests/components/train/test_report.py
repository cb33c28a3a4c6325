from components.train.model_card import model_card, to_markdown
from components.train.report import chart, training_report

HISTORY = [
    {
        "epoch": epoch, "loss": 3.0 / epoch, "learning_rate": 0.1, "images_per_second": 100.0,
        "input_stall_share": 0.02, "scaling_efficiency": 0.875, "input_size": 32,
        "train": {"leaf": 0.2 * epoch},
        **({"unseen": {"leaf": 0.3}} if epoch == 2 else {}),
    }
    for epoch in (1, 2)
]  # fmt: skip


def card(history):
    return model_card(
        mode="scratch",
        parameters={"depth": 18, "embedding_dim": 8, "augmentation": {"noise": 0.1}},
        precision="float32",
        taxonomy_digest="d" * 64,
        levels={"department": 2, "leaf": 3},
        products=5,
        examples=20,
        unseen_examples=4,
        history=history,
        export_difference=1e-7,
        departments={"Seats": {"images": 8, "right": 6}} if history else {},
    )


def test_the_report_is_one_page_with_curves():
    page = training_report(card=card(HISTORY), history=HISTORY)
    assert page.count("<svg") == 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page
    assert "noise 0.1" in page
    assert "87.5%" in page
    assert "<td>Seats</td>" in page
    assert "75.0%" in page


def test_a_run_without_steps_has_a_report_too():
    page = training_report(card=card([]), history=[])
    assert "No step was taken" in page
    assert "<svg" not in page


def test_a_chart_places_its_points():
    # 0 to 10 on the vertical axis takes 178 pixels down from 8; the last x is at the right edge.
    svg = chart("A < B", {"one": [(1.0, 10.0), (2.0, 5.0)]})
    assert "A &lt; B" in svg
    assert 'points="243.0,8.0 452.0,97.0"' in svg
    assert chart("empty", {"one": []}) == ""


def test_the_card_tells_data_metrics_and_limits():
    text = to_markdown(card(HISTORY))
    assert "20 catalog images of 5 products" in text
    assert "| leaf | 40.0% | 30.0% |" in text
    assert "| Seats | 8 | 75.0% |" in text
    assert "## Limits" in text
    assert "| product | " not in text


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
