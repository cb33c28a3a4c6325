from __future__ import annotations

import re

import pytest
import yaml

from components.contracts.errors import InputError
from pipelines.compiled import FILES
from pipelines.local.ir import read_pipeline
from pipelines.profile import COMMITTED, PROFILES, profile_names, read_profile
from pipelines.task_names import TASK_NAMES


def write(tmp_path, **steps):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"description": "x", "steps": steps}))
    return str(path)


def test_there_is_one_for_every_place():
    assert profile_names() == ["kubeflow-cpu", "kubeflow-gpu", "laptop", "vertex"]


@pytest.mark.parametrize("name", ["kubeflow-cpu", "kubeflow-gpu", "laptop", "vertex"])
def test_each_says_what_every_task_asks_for(name):
    profile = read_profile(name)

    assert set(profile.steps) == set(TASK_NAMES)
    assert profile.description


def test_the_tasks_of_the_pipelines_are_those_that_profiles_name():
    names = {step.name for path in FILES.values() for step in read_pipeline(path).steps}

    assert names == set(TASK_NAMES)


def test_what_is_committed_asks_for_processors_and_memory_alone():
    assert not any(wanted.accelerator for wanted in read_profile(COMMITTED).steps.values())


def test_a_file_is_a_profile_too(tmp_path):
    profile = read_profile(write(tmp_path, train={"cpu_limit": 3, "memory_limit": "6Gi"}))

    assert profile.name == "mine"
    assert profile.steps["train"].cpu_limit == "3"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"trian": {}}, "unknown step 'trian'; did you mean train? (expected one of catalog, "),
        ({"train": {"gpu": 1}}, "unknown resource 'gpu' (expected one of cpu_request, cpu_limit"),
        ({"train": {"cpu_limit": "many"}}, "steps.train.cpu_limit: expected processors such as 2"),
        ({"train": {"cpu_limit": 0}}, "expected processors"),
        ({"train": {"memory_limit": "4 GB"}}, "expected memory such as 4Gi or 512Mi"),
        ({"train": {"cpu_request": "4", "cpu_limit": "2500m"}},
         "cpu_request: expected at most the limit 2500m, received 4"),
        ({"train": {"memory_request": "4Gi", "memory_limit": "4G"}}, "expected at most the limit"),
        ({"train": {"accelerator": "nvidia.com/gpu", "accelerator_count": 0}}, "expected 1 to 16"),
        ({"train": "big"}, "expected 'resource: value' lines"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_would_be_accepted(tmp_path, steps, message):
    with pytest.raises(InputError, match=re.escape(message)):
        read_profile(write(tmp_path, **steps))


@pytest.mark.parametrize("text", ["- a list", "steps: [1]", "{", "other: 1"])
def test_a_file_that_is_no_profile_is_refused(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)

    with pytest.raises(InputError, match=r"bad\.yaml"):
        read_profile(str(path))


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="'moon': expected one of kubeflow-cpu, kubeflow-gpu"):
        read_profile("moon")


def test_the_profiles_come_with_the_package():
    assert all(path.suffix == ".yaml" for path in PROFILES.iterdir())
