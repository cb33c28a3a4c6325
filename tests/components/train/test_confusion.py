from components.contracts.taxonomy import Taxonomy
from components.train.confusion import summarise

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
