from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from pipelines.local.ir import Parameter
from pipelines.settings import beam_assignments, parse_assignments, read_settings

KNOWN = {
    "train.epochs": Parameter("train_epochs", int, 50, "Passes."),
    "human_eval.tau": Parameter("human_eval_tau", float, 0.8, "Threshold."),
}


def test_assignments_become_typed_values():
    values = parse_assignments(["train.epochs=3", "human_eval.tau=0.25"], KNOWN)

    assert values == {"train_epochs": 3, "human_eval_tau": 0.25}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.epochs", "expected STEP.PARAMETER=VALUE"),
        ("train.epoch=3", "unknown parameter 'train.epoch'; did you mean train.epochs"),
        ("train.epochs=3.5", "train_epochs: expected a whole number, received '3.5'"),
    ],
)
def test_a_wrong_assignment_is_refused_by_name(text, message):
    with pytest.raises(InputError, match=message):
        parse_assignments([text], KNOWN)


def test_beam_options_become_both_steps_parameters():
    known = {
        f"{step}.beam_options": Parameter(f"{step}_beam_options", str, "", "Options.")
        for step in ("transform", "embed")
    }
    said = [*beam_assignments(["--a=b c", "--d"]), "embed.beam_options="]

    assert parse_assignments(said[:2], known) == {
        "transform_beam_options": "'--a=b c' --d",
        "embed_beam_options": "'--a=b c' --d",
    }
    assert parse_assignments(said, known)["embed_beam_options"] == ""
    assert beam_assignments([]) == ()
    with pytest.raises(InputError, match="--beam-option: expected --NAME"):
        beam_assignments(["runner=x"])


def test_a_file_of_settings_is_read(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text("train: {epochs: 4}\nhuman_eval:\n  tau: 1\n")

    assert read_settings(path, KNOWN) == {"train_epochs": 4, "human_eval_tau": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epochs: four}", "train_epochs: expected int, received 'four'"),
        ("train: {epochs: true}", "train_epochs: expected int, received True"),
        ("train: 4", "expected 'parameter: value' lines below the step"),
        ("- train", "received no mapping"),
        ("train: {speed: 4}", "unknown parameter 'train.speed'"),
        ("train: {", "expected YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "demo.yaml"
    path.write_text(text)

    with pytest.raises(InputError, match=message) as caught:
        read_settings(path, KNOWN)

    assert "demo.yaml" in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml: the settings cannot be read"):
        read_settings(tmp_path / "gone.yaml", KNOWN)
