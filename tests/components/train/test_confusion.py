import numpy as np
import tensorflow as tf

from components.contracts.taxonomy import Taxonomy
from components.train import confusion
from components.train.config import TrainConfig
from components.train.confusion import summarise, unseen_confusions
from components.train.labels import LabelSpace

TABLE = (
    "taxon_id,parent_id,name\nroot,,All\nseat,root,Seats\nsofa,seat,Sofas\nstool,seat,Stools\n"
    "desk,root,Desks\n"
)


def tree(tmp_path):
    (tmp_path / "taxonomy.csv").write_text(TABLE)
    return Taxonomy.read(tmp_path / "taxonomy.csv")


def test_confusions_by_hand(tmp_path):
    truths = ["sofa"] * 4 + ["stool"] * 3 + ["desk"] * 2
    guesses = ["sofa", "stool", "stool", "desk"] + ["stool", "sofa", "stool"] + ["desk"] * 2
    found = summarise(truths, guesses, taxonomy=tree(tmp_path))
    assert (found["images"], found["right"]) == (9, 5)
    assert found["departments"] == {
        "Desks": {"images": 2, "right": 2}, "Seats": {"images": 7, "right": 3},
    }  # fmt: skip
    assert [(p["label"], p["guess"], p["times"], p["of"]) for p in found["pairs"]] == [
        ("sofa", "stool", 2, 4), ("sofa", "desk", 1, 4), ("stool", "sofa", 1, 3),
    ]  # fmt: skip
    at = {leaf: place for place, leaf in enumerate(found["leaves"])}
    assert found["matrix"][at["sofa"]][at["stool"]] == 2
    assert found["matrix"][at["desk"]][at["desk"]] == 2
    assert [found["totals"][at[leaf]] for leaf in ("sofa", "stool", "desk")] == [4, 3, 2]
    # Kin stand side by side.
    assert abs(at["sofa"] - at["stool"]) == 1
    assert found["names"]["sofa"] == "Seats > Sofas"


def test_nothing_held_out_and_nothing_confused(tmp_path):
    assert summarise([], [], taxonomy=tree(tmp_path)) == {}
    found = summarise(["sofa"], ["sofa"], taxonomy=tree(tmp_path))
    assert (found["right"], found["pairs"], found["leaves"], found["matrix"]) == (1, [], [], [])


def test_leaves_above_the_deepest_level_count_too(tmp_path, monkeypatch):
    """Sofas and stools lie at level 2, desks and beds, with nothing below them, at level 1."""
    (tmp_path / "taxonomy.csv").write_text(TABLE + "bed,root,Beds\n")
    taxonomy = Taxonomy.read(tmp_path / "taxonomy.csv")
    labels = LabelSpace.of(taxonomy, ["p"])
    row = {
        node: place
        for level in labels.levels
        for place, class_id in enumerate(level)
        for node in [next(t.taxon_id for t in taxonomy.taxa if t.class_id == class_id)]
    }
    # Each node looks along an axis of its own, and its prototype, of any length, does too.
    axis = {
        node: np.eye(5)[place]
        for place, node in enumerate(("seat", "desk", "bed", "sofa", "stool"))
    }
    weights = {
        f"head_level_{number}/prototypes": np.array(
            [3.0 * axis[node] for node in sorted(nodes, key=row.get)]
        )
        for number, nodes in ((1, ("seat", "desk", "bed")), (2, ("sofa", "stool")))
    }
    # What the image looks like, and its label: the department's row, and the leaf's.
    seen = [
        ("desk", "desk", None), ("bed", "desk", None), ("seat", "bed", None),
        ("sofa", "seat", "sofa"), ("stool", "seat", "sofa"), ("stool", "seat", None),
    ]  # fmt: skip
    vectors = tf.constant([axis[looks] for looks, _, _ in seen], tf.float32)
    rows = tf.constant([[row[top], -1 if leaf is None else row[leaf], 0] for _, top, leaf in seen])
    monkeypatch.setattr(confusion, "unseen_batches", lambda *a, **k: [(vectors, rows)])
    monkeypatch.setattr(confusion, "encode", lambda network, images, **k: images)

    found = unseen_confusions(
        tmp_path, network=None, weights=weights, labels=labels, taxonomy=taxonomy,
        config=TrainConfig(), stored_size=8,
    )  # fmt: skip

    # The last image is known to be a seat of some kind, which is no leaf: it is not counted.
    assert (found["images"], found["right"]) == (5, 2)
    assert found["departments"] == {
        "Beds": {"images": 1, "right": 0}, "Desks": {"images": 2, "right": 1},
        "Seats": {"images": 2, "right": 1},
    }  # fmt: skip
    assert {(p["label"], p["guess"]) for p in found["pairs"]} == {
        ("desk", "bed"), ("bed", "seat"), ("sofa", "stool"),
    }  # fmt: skip
