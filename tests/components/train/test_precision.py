import pytest
import tensorflow as tf

from components.train.precision import resolve_precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_asked_for_is_used(precision):
    assert resolve_precision(precision) == precision


def test_auto_is_one_of_the_two():
    assert resolve_precision("auto") in {"float32", "bfloat16"}


@pytest.mark.parametrize(
    ("details", "precision"),
    [
        ({"compute_capability": (9, 0)}, "bfloat16"),
        ({"compute_capability": (8, 0)}, "bfloat16"),
        ({"compute_capability": (7, 5)}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_goes_by_the_gpu_where_there_is_one(monkeypatch, details, precision):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"{kind}:0"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert resolve_precision("auto") == precision
