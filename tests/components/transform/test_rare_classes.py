import pytest

from components.contracts.taxonomy import Taxonomy
from components.transform.rare_classes import TrainedLabels

TABLE = (
    "taxon_id,parent_id,name\nroot,,All\nseat,root,Seats\nsofa,seat,Sofas\nstool,seat,Stools\n"
    "desk,root,Desks\nsecretary,desk,Secretaries\n"
)
TRAINED = ["sofa"] * 5 + ["stool"] * 2 + ["seat"] + ["secretary"]


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "taxonomy.csv").write_text(TABLE)
    return Taxonomy.read(tmp_path / "taxonomy.csv")


@pytest.mark.parametrize(
    ("minimum", "cut"),
    [
        (1, {}),
        (2, {"secretary": ()}),
        (3, {"secretary": (), "stool": ("seat",)}),
        (6, {"secretary": (), "stool": ("seat",), "sofa": ("seat",)}),
        (9, {"secretary": (), "stool": (), "sofa": (), "seat": ()}),
    ],
)
def test_what_is_rare_is_trained_as_the_nearest_ancestor_with_enough(tree, minimum, cut):
    found = TrainedLabels.of(tree, labels=set(TRAINED), trained=TRAINED, minimum=minimum)
    assert {label: found.paths[label] for label in found.cut} == cut
    whole = set(TRAINED) - set(cut)
    assert {label: found.paths[label] for label in whole} == {
        label: tree.path(label) for label in whole
    }
    assert (found.images["seat"], found.images["sofa"], found.images["desk"]) == (8, 5, 1)


def test_what_was_never_trained_on_keeps_its_label(tree):
    found = TrainedLabels.of(tree, labels=["stool", "sofa"], trained=["sofa"] * 3, minimum=2)
    assert found.paths["stool"] == ("seat", "stool")
    assert found.cut == ()
