import pytest

from components.contracts.errors import InputError
from components.train.backend_config import BackendConfig
from components.train.step import backend_config

TFJOB = {
    "backend": "tfjob", "staging": "/mnt/shop/training", "mount_path": "/mnt/shop",
    "volume_claim": "shop", "image": "lookalike/tensorflow:1",
}  # fmt: skip
VERTEX = {
    "backend": "vertex", "staging": "/gcs/shop/training", "image": "lookalike/tensorflow:1",
    "project": "shop", "region": "europe-west4",
}  # fmt: skip


@pytest.mark.parametrize("values", [{}, TFJOB, VERTEX])
def test_what_a_backend_needs_is_enough(values):
    assert BackendConfig.from_mapping(values).backend == values.get("backend", "local")


def test_numbers_come_as_json_has_them():
    config = BackendConfig.from_mapping({**TFJOB, "cpu": 8.0, "deadline_hours": 2})
    assert (config.cpu, config.deadline_hours) == (8, 2.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"backend": "slurm"}, "one of local, tfjob, vertex"),
        ({**TFJOB, "volume_claim": ""}, "volume_claim: expected a value"),
        ({**VERTEX, "project": ""}, "project: expected a value"),
        ({**TFJOB, "staging": "/tmp/x"}, "under mount_path /mnt/shop"),
        ({**VERTEX, "staging": "gs://shop"}, "under /gcs/BUCKET"),
        ({**TFJOB, "run_id": "Run 7"}, "lower-case letters, digits and hyphens"),
        ({**TFJOB, "cpu": 0}, "cpu: expected more than 0"),
        ({**TFJOB, "cpu": 1.5}, "cpu: expected int"),
        ({**TFJOB, "gpus": -1}, "gpus: expected 0 or more"),
        ({**TFJOB, "colour": "red"}, "colour: no such option; there are accelerator_type"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values, words):
    with pytest.raises(InputError, match=words):
        BackendConfig.from_mapping(values)


def test_the_options_of_the_step_are_json():
    assert backend_config("local", "").backend == "local"
    with pytest.raises(InputError, match="backend_options: expected a JSON object"):
        backend_config("tfjob", "staging=/mnt")
    with pytest.raises(InputError, match="received list"):
        backend_config("tfjob", "[]")
