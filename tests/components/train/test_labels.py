import numpy as np
import pytest

from components.contracts.errors import InputError
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
