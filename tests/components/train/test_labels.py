import numpy as np
import pytest

from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from components.train.labels import LabelSpace


def test_levels_and_products_become_rows(taxonomy):
    labels = LabelSpace.of(taxonomy, ["b", "a", "b"])
    assert labels.products == ("a", "b")
    assert [len(level) for level in labels.levels] == [2, 3]
    assert labels.level_names() == ("department", "leaf")
    rows = labels.rows()
    for level in labels.levels:
        np.testing.assert_array_equal(rows[list(level)], np.arange(len(level)))
    assert rows[-1] == -1
    assert rows[taxonomy.class_id("root")] == -1
    assert LabelSpace.from_mapping(labels.to_mapping()) == labels


def test_a_path_of_another_taxonomy_is_refused(taxonomy):
    labels = LabelSpace.of(taxonomy, [])
    good = [taxonomy.class_id(node) for node in taxonomy.path("chairs")]
    labels.check([good, good[:1], []])
    with pytest.raises(InputError, match=r"class id 99 at level 2 .* run transform again"):
        labels.check([[good[0], 99]])
    with pytest.raises(InputError, match="at level 1"):
        labels.check([good[::-1]])


def test_the_digest_follows_the_classes(taxonomy):
    labels = LabelSpace.of(taxonomy, ["a"])
    assert labels.digest == LabelSpace.of(taxonomy, ["b"]).digest
    assert labels.digest != LabelSpace(labels.levels[:1], ("a",)).digest


def test_classes_know_their_kin():
    table = (
        "taxon_id,parent_id,name\nroot,,All\na,root,A\nb,root,B\na1,a,A1\na2,a,A2\nb1,b,B1\n"
        "a1x,a1,X\na2x,a2,X\na2y,a2,Y\nb1x,b1,X\n"
    )
    tree = Taxonomy.parse(table.encode())
    labels = LabelSpace.of(tree, [])
    assert LabelSpace.from_mapping(labels.to_mapping()) == labels
    name = {tree.class_id(node): node for level in tree.levels for node in level}
    nodes = [[name[class_id] for class_id in level] for level in labels.levels]
    families, departments = labels.groups(2)
    assert [nodes[1][row] for row in families] == [node[:2] for node in nodes[2]]
    assert [nodes[0][row] for row in departments] == [node[0] for node in nodes[2]]
    assert labels.groups(0) == ()
