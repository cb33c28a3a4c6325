from components.train.labels import EmptyLeaves
from components.train.model_card import model_card, to_markdown

HISTORY = [
    {
        "epoch": epoch, "loss": 3.0 / epoch, "learning_rate": 0.1, "images_per_second": 100.0,
        "steps_per_second": 3.125, "input_stall_share": 0.02, "scaling_efficiency": 0.875,
        "input_size": 32, "train": {"leaf": 0.2 * epoch},
        **({"unseen": {"leaf": 0.3}} if epoch == 2 else {}),
    }
    for epoch in (1, 2)
]  # fmt: skip
EMPTY = EmptyLeaves(5, no_image=("Seats > <Pouffes>",), rare=("Seats > Stools",))


def card(history, empty=EMPTY):
    return model_card(
        mode="scratch",
        parameters={"depth": 18, "embedding_dim": 8, "augmentation": {"noise": 0.1}},
        precision="float32",
        taxonomy_digest="d" * 64,
        levels={"department": 2, "leaf": 3},
        empty_leaves=empty.to_mapping(),
        products=5,
        examples=20,
        unseen_examples=4,
        history=history,
        export_difference=1e-7,
        departments={"Seats": {"images": 8, "right": 6}} if history else {},
    )


def test_the_card_tells_data_metrics_and_limits():
    text = to_markdown(card(HISTORY))
    assert "20 catalog images of 5 products" in text
    assert "| leaf | 40.0% | 30.0% |" in text
    assert "| Seats | 8 | 75.0% |" in text
    assert "## Limits" in text
    assert "| product | " not in text


def test_the_card_tells_how_many_leaves_have_no_example_and_names_some():
    assert card(HISTORY)["empty_leaves"] == {
        "leaves": 5,
        "empty": 2,
        "no_image": {"count": 1, "names": ["Seats > <Pouffes>"]},
        "rare": {"count": 1, "names": ["Seats > Stools"]},
        "held_out": {"count": 0, "names": []},
    }
    assert (
        "- 2 of the 5 leaves of the taxonomy have no training example: 1 without an image (Seats > "
        "<Pouffes>), 1 too rare and trained at an ancestor (Seats > Stools).\n"
    ) in to_markdown(card(HISTORY))
    many = EmptyLeaves(99, held_out=tuple(f"L{n}" for n in range(40)))
    assert "40 with all products held out (L0; L1; L2; L3; L4; 35 more)" in to_markdown(
        card(HISTORY, many)
    )
    none = to_markdown(card(HISTORY, EmptyLeaves(5)))
    assert "Each of the 5 leaves of the taxonomy has training examples." in none
