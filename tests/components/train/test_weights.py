import numpy as np
import pytest

from components.contracts.errors import InputError
from components.train.heads import build_heads
from components.train.labels import LabelSpace
from components.train.resnet import build_resnet
from components.train.weights import load_weights, read_weights, save_weights


def network(seed, width=4):
    return build_resnet(
        depth=18, width=width, embedding_dim=8, channel_mean=(0, 0, 0), channel_std=(1, 1, 1),
        seed=seed,
    )  # fmt: skip


def test_weights_start_another_network_and_old_classes_keep_their_prototypes(tmp_path):
    old = LabelSpace(levels=((1, 4),), products=("a", "b"))
    new = LabelSpace(levels=((1, 3, 4),), products=("b", "c"))
    first, first_heads = network(1), build_heads(old, embedding_dim=8, seed=1)
    save_weights(tmp_path / "weights.npz", first, first_heads, old)
    second, second_heads = network(2), build_heads(new, embedding_dim=8, seed=2)
    fresh = [head.prototypes.numpy() for head in second_heads]
    filled = load_weights(tmp_path / "weights.npz", second, second_heads, new)
    assert filled == len(second.weights)
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    level, product = (head.prototypes.numpy() for head in second_heads)
    old_level, old_product = (head.prototypes.numpy() for head in first_heads)
    np.testing.assert_array_equal(level[[0, 2]], old_level)
    np.testing.assert_array_equal(level[1], fresh[0][1])
    np.testing.assert_array_equal(product[0], old_product[1])
    np.testing.assert_array_equal(product[1], fresh[1][1])


def test_weights_of_another_network_are_refused(tmp_path):
    labels = LabelSpace(levels=((1,),), products=("a",))
    np.savez(tmp_path / "weights.npz", other=np.zeros(3))
    heads = build_heads(labels, embedding_dim=8, seed=1)
    with pytest.raises(InputError, match="none of the 1 arrays matches"):
        load_weights(tmp_path / "weights.npz", network(1), heads, labels)


def test_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", trap=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="expected the weights of an encoder"):
        read_weights(tmp_path / "weights.npz")
    with pytest.raises(InputError, match="expected the weights of an encoder"):
        read_weights(tmp_path / "missing.npz")
