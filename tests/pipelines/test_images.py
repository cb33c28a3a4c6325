from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from pipelines.images import image_name, pin_images, read_digests

DIGEST = "sha256:" + "0" * 64
DOCUMENT = {
    "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "lookalike/ops:0.1.0"}}}}
}


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("ops", "ops"),
        ("lookalike/ops:0.1.0", "ops"),
        ("host.example:5000/p/ops:0.1.0", "ops"),
        (f"host.example/p/ops@{DIGEST}", "ops"),
    ],
)
def test_an_image_has_a_short_name(reference, name):
    assert image_name(reference) == name


def test_digests_are_read_from_json_and_yaml(tmp_path):
    for name, text in (
        ("d.json", f'{{"lookalike/ops:0.1.0": "host.example/p/ops@{DIGEST}"}}'),
        ("d.yaml", f"ops: host.example/p/ops@{DIGEST}\n"),
    ):
        (tmp_path / name).write_text(text)
        assert read_digests(tmp_path / name) == {"ops": f"host.example/p/ops@{DIGEST}"}


def test_pinning_leaves_the_original_alone():
    pinned = pin_images(DOCUMENT, {"ops": f"h/ops@{DIGEST}"})

    assert pinned["deploymentSpec"]["executors"]["exec-a"]["container"]["image"].endswith(DIGEST)
    assert "0.1.0" in DOCUMENT["deploymentSpec"]["executors"]["exec-a"]["container"]["image"]


def test_an_image_without_a_digest_is_refused_by_name():
    with pytest.raises(InputError, match=r"no digest for the image 'ops'.*digests for scann"):
        pin_images(DOCUMENT, {"scann": f"h/scann@{DIGEST}"})


@pytest.mark.parametrize("text", ["", "- a", "ops: host/ops:0.1.0", "ops: 3", "ops: [", "{}"])
def test_a_file_without_digests_is_refused(tmp_path, text):
    path = tmp_path / "d.yaml"
    path.write_text(text)

    with pytest.raises(InputError, match=r"d\.yaml"):
        read_digests(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_digests(tmp_path / "gone.json")
