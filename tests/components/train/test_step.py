import shutil
from types import SimpleNamespace

import pytest

from components.contracts.catalog import TAXONOMY_FILE
from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.train import step
from components.train.component import train
from components.train.config import TrainConfig
from components.train.step import backend_config, run
from components.transform.pipeline import channel_statistics

SMALL = {"width": 4, "input_size": 32, "embedding_dim": 16, "batch_size": 16, "workers": 1}


def arguments(tmp_path, **changes):
    """What the component hands over; where nothing lies, nothing may be read."""
    paths = ("checked", "examples", "transform_graph", "encoder", "checkpoints", "report")
    return {
        **{name: str(tmp_path / name) for name in paths},
        "registry": str(tmp_path / "registry"),
        "incumbent": "none",
        "mode": "scratch",
        "backend": "local",
        "backend_options": "",
        "options": "",
        **SMALL,
        **changes,
    }


@pytest.mark.slow
def test_the_component_trains_with_parameters_and_options(
    tmp_path, examples, transform_graph, taxonomy
):
    """From the component's interface to the encoder's files; no step is taken."""
    examples = shutil.copytree(examples, tmp_path / "examples")
    statistics = read_json(examples / "statistics.json")
    mean, deviation = channel_statistics(transform_graph)
    write_json(
        examples / "statistics.json",
        {**statistics, "channel_mean": mean, "channel_std": deviation},
    )
    taxonomy.write(tmp_path / "checked" / TAXONOMY_FILE)
    artifacts = {
        "checked": tmp_path / "checked", "examples": examples, "transform_graph": transform_graph,
        "encoder": tmp_path / "encoder", "checkpoints": tmp_path / "checkpoints",
        "report": tmp_path / "report.html",
    }  # fmt: skip
    logged = {}
    train.python_func(
        **{name: SimpleNamespace(path=str(path)) for name, path in artifacts.items()},
        metrics=SimpleNamespace(log_metric=logged.__setitem__),
        registry=str(tmp_path / "registry"),
        incumbent="none",
        mode="scratch",
        epochs=0,
        options='{"margin": 0.25, "antialias": true, "augmentation": {"textures": 8}}',
        **SMALL,
    )
    assert logged["epochs"] == 0
    assert logged["export_difference"] <= 1e-4
    said = TrainConfig.from_mapping(read_json(tmp_path / "encoder/encoder.json")["parameters"])
    assert (said.width, said.epochs, said.margin, said.antialias) == (4, 0, 0.25, True)
    assert said.augmentation.textures == 8
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backend": "cloud"}, r"train\.backend\.backend: expected one of local, tfjob, vertex"),
        ({"backend_options": "{"}, r"train\.backend_options: expected a JSON object.*correct it"),
        ({"backend_options": "[]"}, r"train\.backend_options: expected a JSON object.*received l"),
        ({"backend_options": '{"cpus": 4}'}, r"train\.backend\.cpus: no such option; there are"),
        ({"backend_options": '{"cpu": "many"}'}, r"train\.backend\.cpu: expected int, received"),
        ({"backend": "tfjob"}, r"train\.backend\.staging: expected a value, which backend tfjob"),
        ({"options": "margin: 1"}, r"train\.options: expected a JSON object.*correct it"),
        ({"options": '{"marginn": 1}'}, r"train\.marginn: no such parameter; there are .*margin"),
        ({"options": '{"width": 8}'}, r"train\.options: expected no width.*set train\.width"),
        ({"options": '{"margin": -1}'}, r"train\.margin: expected at least 0, received -1"),
        ({"batch_size": 15, "workers": 2}, r"train\.batch_size: expected a multiple of the 2"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused_before_anything_is_read(
    tmp_path, monkeypatch, changes, words
):
    monkeypatch.setattr(step, "train_encoder", None)
    with pytest.raises(InputError, match=words):
        run(**arguments(tmp_path, **changes))


def test_backend_options_are_those_of_the_backend():
    backend = backend_config(
        "vertex",
        '{"staging": "/gcs/b/t", "image": "i", "project": "p", "region": "r", "gpus": 2.0}',
    )
    assert (backend.backend, backend.project, backend.gpus) == ("vertex", "p", 2)
    assert backend_config("local", "").backend == "local"
