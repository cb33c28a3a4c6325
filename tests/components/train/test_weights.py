import numpy as np
import pytest

from components.contracts.errors import InputError
from components.train.heads import build_heads
from components.train.labels import LabelSpace
from components.train.resnet import build_resnet
from components.train.weights import load_weights, read_weights, save_weights


def network(seed, **changes):
    shape = {"depth": 18, "width": 4, "embedding_dim": 8, "squeeze_excite": False, **changes}
    return build_resnet(channel_mean=(0, 0, 0), channel_std=(1, 1, 1), seed=seed, **shape)


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


def saved(directory, labels, **changes):
    """The weights of a network that was taught `labels`."""
    one = network(1, **changes)
    heads = build_heads(labels, embedding_dim=one.output_shape[-1], seed=1)
    save_weights(directory / "weights.npz", one, heads, labels)
    return directory / "weights.npz"


def start(path, labels, **changes):
    """Starts another network from them."""
    other = network(2, **changes)
    heads = build_heads(labels, embedding_dim=other.output_shape[-1], seed=2)
    load_weights(path, other, heads, labels)


@pytest.mark.parametrize(
    ("theirs", "own", "words"),
    [
        # Every variable of the smaller network would be filled, with half of a larger one.
        ({"depth": 34}, {}, "with depth 18, received depth 34; set train.depth=34 as it was, or"),
        ({"depth": 10}, {}, "with depth 18, received depth 10; set train.depth=10 as it was, or"),
        ({"depth": 50}, {}, "received depth 50; set train.depth=50 as it was"),
        ({"width": 8}, {}, "with width 4, received width 8; set train.width=8 as it was"),
        ({}, {"embedding_dim": 16}, "received embedding_dim 8; set train.embedding_dim=8 as"),
        ({"squeeze_excite": True}, {}, "set train.squeeze_excite=true as it was"),
        (
            {},
            {"depth": 34, "embedding_dim": 16},
            "with depth 34 and embedding_dim 16, received depth 18 and embedding_dim 8; set "
            "train.depth=18, train.embedding_dim=8 as it was, or train with mode=scratch",
        ),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, theirs, own, words):
    labels = LabelSpace(levels=((1,),), products=("a",))
    with pytest.raises(InputError, match="mode=scratch") as error:
        start(saved(tmp_path, labels, **theirs), labels, **own)
    assert words in str(error.value)


def test_arrays_that_are_no_network_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", other=np.zeros(3))
    with pytest.raises(InputError, match=r"received 1, of which 0 fit; train with mode=scratch"):
        start(tmp_path / "weights.npz", LabelSpace(levels=((1,),), products=("a",)))


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (((1, 2), (3, 5)), "without 1 of them (class ids 4 of level 2); train with mode=scratch"),
        (((1,), (3, 4)), "(class ids 2 of level 1)"),
        (((1, 2),), "(class ids 3 of level 2, 4 of level 2)"),
        # A node that was put below another one.
        (((1, 2), (3, 9), (4,)), "(class ids 4 of level 2 (now of level 3))"),
    ],
)
def test_a_taxonomy_that_lost_a_class_is_refused(tmp_path, levels, words):
    path = saved(tmp_path, LabelSpace(levels=((1, 2), (3, 4)), products=("a",)))
    with pytest.raises(InputError, match=r"expected each of the 4 classes") as error:
        start(path, LabelSpace(levels=levels, products=("a",)))
    assert words in str(error.value)


def test_many_lost_classes_are_counted(tmp_path):
    path = saved(tmp_path, LabelSpace(levels=(tuple(range(1, 9)),), products=("a",)))
    with pytest.raises(
        InputError, match=r"without 7 of them \(class ids 2 of .*, 6 of level 1 and 2"
    ):
        start(path, LabelSpace(levels=((1,),), products=("a",)))


def test_a_taxonomy_that_grew_is_taken(tmp_path):
    path = saved(tmp_path, LabelSpace(levels=((1, 2), (3, 4)), products=("a",)))
    start(path, LabelSpace(levels=((1, 2, 5), (3, 4, 6), (7,)), products=("b",)))


def test_weights_that_do_not_say_what_they_were_taught_are_refused(tmp_path):
    path = saved(tmp_path, LabelSpace(levels=((1,),), products=("a",)))
    arrays = {name: array for name, array in read_weights(path).items() if "labels/" not in name}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="the classes that the weights were taught"):
        start(path, LabelSpace(levels=((1,),), products=("a",)))


def test_a_refused_start_leaves_the_network_alone(tmp_path):
    path = saved(tmp_path, LabelSpace(levels=((1, 2),), products=("a",)))
    labels = LabelSpace(levels=((1,),), products=("a",))
    other, heads = network(2), build_heads(labels, embedding_dim=8, seed=2)
    before = [variable.numpy() for variable in other.weights]
    with pytest.raises(InputError):
        load_weights(path, other, heads, labels)
    for one, variable in zip(before, other.weights, strict=True):
        np.testing.assert_array_equal(one, variable.numpy())


def test_a_damaged_file_is_refused(tmp_path):
    path = saved(tmp_path, LabelSpace(levels=((1,),), products=("a",)))
    data = path.read_bytes()
    place = len(data) // 2
    for damaged in (
        data[:place],
        data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
        b"PK",
        b"",
    ):
        path.write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"weights.npz: expected the weights of an encoder, rec"
        ):
            read_weights(path)


def test_a_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", trap=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="expected the weights of an encoder"):
        read_weights(tmp_path / "weights.npz")
    with pytest.raises(InputError, match="expected the weights of an encoder"):
        read_weights(tmp_path / "missing.npz")
