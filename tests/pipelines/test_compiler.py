from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from components.contracts.errors import LookalikeError
from pipelines.compiled import STEPS, VISUAL_SEARCH, check_fresh, settable
from pipelines.compiler import check_compiled, compile_pipeline
from pipelines.local.ir import read_pipeline


@pytest.fixture(scope="module")
def compiled() -> str:
    return compile_pipeline()


def test_the_committed_pipeline_is_what_the_code_compiles_to():
    check_compiled()


def test_a_stale_file_is_refused_with_the_lines_that_differ(tmp_path):
    stale = tmp_path / "stale.yaml"
    stale.write_text(VISUAL_SEARCH.read_text().replace("defaultValue: 72.0", "defaultValue: 96.0"))

    with pytest.raises(LookalikeError, match="stale") as caught:
        check_compiled(stale)

    assert "defaultValue: 96.0\n+" in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(LookalikeError, match=r"gone\.yaml.*lookalike compile"):
        check_compiled(tmp_path / "gone.yaml")


def test_compiling_gives_the_same_bytes_whatever_the_hash_seed_and_the_folder(compiled, tmp_path):
    code = "from pipelines.compiler import compile_pipeline; print(compile_pipeline(), end='')"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=environment, cwd=tmp_path, check=True
    )

    assert run.stdout.decode() == compiled


def test_the_steps_are_those_of_the_design_in_order():
    assert tuple(step.name for step in read_pipeline(VISUAL_SEARCH).steps) == STEPS


def test_gates_promotion_and_catalog_are_never_cached():
    cacheable = {step.name for step in read_pipeline(VISUAL_SEARCH).steps if step.cacheable}

    assert cacheable == {"transform", "train", "embed", "index"}


def test_every_parameter_is_described_and_typed():
    pipeline = read_pipeline(VISUAL_SEARCH)

    undescribed = [name for name, p in pipeline.parameters.items() if len(p.description) < 10]
    assert undescribed == []


def test_nothing_is_installed_when_a_step_starts(compiled):
    executors = yaml.safe_load(compiled)["deploymentSpec"]["executors"]

    for name, executor in executors.items():
        command = " ".join(executor["container"]["command"][:3])
        assert "pip install" not in command, name


def test_a_component_that_changed_since_is_noticed():
    pipeline = read_pipeline(VISUAL_SEARCH)
    check_fresh(pipeline)
    step = pipeline.steps[0]
    changed = type(step)(**{**step.__dict__, "source": step.source + "\n    return 1"})

    with pytest.raises(LookalikeError, match="older than components/catalog"):
        check_fresh(type(pipeline)(pipeline.name, pipeline.parameters, (changed,)))


def test_parameters_are_set_by_step_and_name():
    names = settable(read_pipeline(VISUAL_SEARCH))

    assert names["train.epochs"].name == "train_epochs"
    assert names["human_eval.tau"].name == "human_eval_tau"
    assert "catalog" not in names
