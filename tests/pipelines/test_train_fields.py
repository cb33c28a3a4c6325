from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from components.contracts.errors import InputError
from components.train.config import TrainConfig
from pipelines.cli.parameters_command import parameters
from pipelines.compiled import VISUAL_SEARCH, settable
from pipelines.local.ir import Pipeline, read_pipeline
from pipelines.local.step_cache import step_key
from pipelines.settings import read_values
from pipelines.train_fields import Field, train_fields
from pipelines.values import check_values

PIPELINE = read_pipeline(VISUAL_SEARCH)
KNOWN = settable(PIPELINE)


def test_every_field_of_the_config_can_be_set_and_is_described():
    nested = {f"train.augmentation.{name}" for name in TrainConfig().to_mapping()["augmentation"]}
    plain = {f"train.{name}" for name in TrainConfig().to_mapping() if name != "augmentation"}

    assert plain | nested <= set(KNOWN)
    assert all(parameter.description for parameter in KNOWN.values())
    assert KNOWN["train.margin"] == Field(
        "train_options.margin", 0.0,
        "How much closer than any other an example must come to its class, in cosine.",
    )  # fmt: skip
    assert KNOWN["train.precision"].description.endswith(
        "or `auto` for bfloat16 where the processor has it."
    )


def test_fields_from_file_and_command_line_become_one_text_in_one_order(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(
        "train:\n  epochs: 3\n  margin: 0.1\n  antialias: true\n"
        "  augmentation: {scale: [0.5, 1.0], noise: 0.2}\n"
    )
    said = ["train.precision=float32", "train.margin=0.2", "train.augmentation.noise=0",
            "train.tree_smoothing=True", "train.stall_seconds=1e3"]  # fmt: skip

    values = read_values(file, said, KNOWN)

    assert values.keys() == {"train_epochs", "train_options"}
    assert json.loads(values["train_options"]) == {
        "margin": 0.2, "antialias": True, "precision": "float32", "tree_smoothing": True,
        "stall_seconds": 1000.0, "augmentation": {"scale": [0.5, 1.0], "noise": 0},
    }  # fmt: skip
    assert read_values(file, said[::-1], KNOWN) == values
    check_values(values)


def test_the_text_itself_can_be_given_too(tmp_path):
    text = '{"margin": 0.1}'

    assert read_values(None, [f"train.options={text}"], KNOWN) == {"train_options": text}
    assert read_values(None, ["train.epochs=3"], KNOWN) == {"train_epochs": 3}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["train.marginn=1"], r"unknown parameter 'train\.marginn'; did you mean train\.margin"),
        (["train.augmentation.noises=1"], r"did you mean train\.augmentation\.noise"),
        (["train.augmentation=1"], r"unknown parameter 'train\.augmentation'"),
        (["train.options={}x"], r"train\.options: expected a JSON object.*correct it"),
        (["train.options=[1]"], r"train\.options: expected a JSON object.*received list"),
        (['train.options={"epochs": 3}'], r"train\.options: expected no epochs.*set train\.epochs"),
        (
            ['train.options={"seed": 3}', "train.margin=1"],
            r"train\.options: expected no seed.*set train\.seed",
        ),
        (
            ['train.options={"margin": 3}', "train.antialias=true"],
            r"expected this text or fields, received both it and train\.antialias",
        ),
    ],
)
def test_what_cannot_be_folded_is_refused_by_name(said, message):
    with pytest.raises(InputError, match=message):
        read_values(None, said, KNOWN)


def test_a_pipeline_of_an_earlier_version_has_no_fields():
    earlier = {
        name: parameter
        for name, parameter in PIPELINE.parameters.items()
        if name != "train_options"
    }

    assert train_fields(earlier) == {}
    with pytest.raises(InputError, match=r"unknown parameter 'train\.margin'"):
        read_values(None, ["train.margin=0.1"], settable(Pipeline("", earlier, ())))


def test_the_list_of_parameters_has_them_with_defaults_and_descriptions():
    listed = CliRunner().invoke(parameters, ["train"], catch_exceptions=False).output

    assert "train.margin = 0.0  (float)\n    How much closer" in listed
    assert "train.precision = 'auto'  (str)\n    Arithmetic of the convolutions" in listed
    assert "train.augmentation.scale = [0.62, 1.08]  (list)\n    Smallest and largest" in listed
    assert "train.options = ''  (str)\n" in listed


def test_another_field_makes_the_step_run_again():
    (train,) = [step for step in PIPELINE.steps if step.name == "train"]
    assert train.parameters["options"].name == "train_options"

    def key(*said: str) -> str:
        given = {name: parameter.default for name, parameter in PIPELINE.parameters.items()}
        given.update(read_values(None, said, KNOWN))
        arguments = {
            name: given[source.name]
            for name, source in train.parameters.items()
            if getattr(source, "name", "") in given
        }
        return step_key(train, arguments, {}, "")

    one, other = "train.margin=0.1", "train.antialias=true"
    assert key(one) != key() != key(other)
    assert key(one, other) == key(other, one)
