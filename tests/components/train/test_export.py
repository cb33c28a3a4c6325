from dataclasses import replace

import numpy as np
import pytest

from components.contracts.errors import InputError, LookalikeError
from components.train.data import Statistics
from components.train.export import check_export, check_graph, export_encoder
from components.train.resnet import build_resnet
from components.transform.pipeline import channel_statistics
from tests.components.train.conftest import STORED_SIZE, draw

SIZES = {"input_size": 32, "flip_average": True}


@pytest.fixture(scope="module")
def network():
    return build_resnet(
        depth=18, width=4, embedding_dim=8, channel_mean=(128.0,) * 3, channel_std=(64.0,) * 3
    )


@pytest.fixture
def statistics(transform_graph):
    """What transform writes down beside this graph, of four places."""
    mean, deviation = channel_statistics(transform_graph)
    return Statistics(
        stored_size=STORED_SIZE, train=4, unseen=0, channel_mean=tuple(mean),
        channel_std=tuple(deviation),
    )  # fmt: skip


@pytest.mark.slow
def test_an_export_that_gives_other_vectors_is_refused(tmp_path, network, transform_graph):
    saved_model = tmp_path / "saved_model"
    export_encoder(
        network=network, transform_graph=transform_graph, saved_model=saved_model,
        stored_size=STORED_SIZE, **SIZES,
    )  # fmt: skip
    compared = {
        "saved_model": saved_model,
        "transform_graph": transform_graph,
        "images": np.stack([draw(number, 0)[0] for number in range(3)]),
        **SIZES,
    }
    assert check_export(network=network, **compared) <= 1e-4

    weights = network.get_weights()
    network.set_weights([1.01 * weight + 0.01 for weight in weights])
    try:
        with pytest.raises(
            LookalikeError, match=r"differ by .*, more than 1e-04; the export is not used"
        ):
            check_export(network=network, **compared)
    finally:
        network.set_weights(weights)


def test_an_export_with_a_graph_of_another_size_is_refused(tmp_path, network, transform_graph):
    with pytest.raises(InputError, match=r"expected .* \[48, 48, 3\].*received \[32, 32, 3\]; use"):
        export_encoder(
            network=network, transform_graph=transform_graph, saved_model=tmp_path / "saved_model",
            stored_size=48, **SIZES,
        )  # fmt: skip
    assert not (tmp_path / "saved_model").exists()


def test_the_graph_of_the_examples_is_taken(transform_graph, statistics):
    check_graph(transform_graph, statistics)
    rounded = tuple(mean + 0.00005 for mean in statistics.channel_mean)
    check_graph(transform_graph, replace(statistics, channel_mean=rounded))


@pytest.mark.parametrize("name", ["channel_mean", "channel_std"])
@pytest.mark.parametrize("off", [(0.0, 0.0, 0.001), (-5.0, 0.0, 0.0), (float("nan"), 0.0, 0.0)])
def test_a_graph_of_another_run_is_refused(transform_graph, statistics, name, off):
    """Of the same size: only the statistics tell it from the right one."""
    other = tuple(map(sum, zip(getattr(statistics, name), off, strict=True)))
    with pytest.raises(
        InputError, match=rf"{name} of the examples.*received .*use the graph and the examples of"
    ):
        check_graph(transform_graph, replace(statistics, **{name: other}))


def test_a_graph_of_another_size_is_refused(transform_graph, statistics):
    with pytest.raises(InputError, match=r"\[48, 48, 3\].*received \[32, 32, 3\]; use the graph"):
        check_graph(transform_graph, replace(statistics, stored_size=48))


def test_a_directory_without_a_graph_is_refused(tmp_path, statistics):
    with pytest.raises(InputError, match="expected a graph of TensorFlow Transform"):
        check_graph(tmp_path, statistics)
