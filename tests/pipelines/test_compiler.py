from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from components.contracts.errors import InputError, LookalikeError
from pipelines.cli.compile_command import compile_
from pipelines.compiled import FILES, RELEASE, STEPS, VISUAL_SEARCH, check_fresh, file_of, settable
from pipelines.compiler import Options, check_compiled, compile_text, write_compiled
from pipelines.local.ir import read_pipeline
from pipelines.profile import read_profile

PINNED = "host.example/lookalike/{}@sha256:" + "a" * 64
IMAGES = ("tensorflow", "scann", "ops", "serving")


@pytest.mark.parametrize("name", FILES)
def test_the_committed_pipeline_is_what_the_code_compiles_to(name):
    check_compiled(name, FILES[name])


def test_a_stale_file_is_refused_with_the_lines_that_differ(tmp_path):
    stale = tmp_path / "stale.yaml"
    stale.write_text(VISUAL_SEARCH.read_text().replace("defaultValue: 72.0", "defaultValue: 96.0"))

    with pytest.raises(LookalikeError, match="stale") as caught:
        check_compiled("visual-search", stale)

    changed = [line for line in str(caught.value).splitlines() if "defaultValue: " in line]
    # Once in the component's interface, once in the pipeline's.
    assert [line[0] + line.split()[-1] for line in changed] == ["-96.0", "+72.0"] * 2


def test_a_changed_line_of_a_body_is_one_line_of_the_diff(tmp_path):
    stale = tmp_path / "stale.yaml"
    text = VISUAL_SEARCH.read_text()
    assert "from components.catalog.step import run\n" in text
    stale.write_text(
        text.replace("components.catalog.step import run\n", "components.catalog.step import go\n")
    )

    with pytest.raises(LookalikeError) as caught:
        check_compiled("visual-search", stale)

    changed = [line for line in str(caught.value).splitlines() if line[:1] in "+-"]
    assert [line[0] for line in changed] == ["-", "+", "-", "+"]  # The names, then the line.


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(LookalikeError, match=r"gone\.yaml.*lookalike compile"):
        check_compiled("release", tmp_path / "gone.yaml")


def test_a_file_with_faults_is_refused_with_all_of_them(tmp_path):
    path = tmp_path / "faulty.yaml"
    document = yaml.safe_load(RELEASE.read_text())
    inner = document["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    inner["judge"]["cachingOptions"] = {"enableCache": True}
    document["root"]["inputDefinitions"]["parameters"]["channel"]["description"] = ""
    path.write_text(yaml.safe_dump(document))

    with pytest.raises(LookalikeError, match="2 faults") as caught:
        check_compiled("release", path)

    assert "task judge is cached" in str(caught.value)
    assert "parameter channel: has no description" in str(caught.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "4242", "TZ": "America/Lima", "LC_ALL": "C.UTF-8", "LANG": "tr_TR"},
    ],
)
def test_compiling_gives_the_same_bytes_whatever_hash_seed_locale_zone_and_folder(
    tmp_path, environment
):
    run = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "compile", "--pipeline", "visual-search",
         "--output", "here.yaml"],
        capture_output=True, env={**os.environ, **environment}, cwd=tmp_path, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    assert (tmp_path / "here.yaml").read_bytes() == VISUAL_SEARCH.read_bytes()


def test_the_steps_are_those_of_the_design_in_order():
    names = [step.name for step in read_pipeline(VISUAL_SEARCH).steps]

    assert tuple(name for name in names if name in STEPS) == STEPS
    assert names[-1] == "notify"


@pytest.mark.parametrize("path", [VISUAL_SEARCH, RELEASE])
def test_the_branches_are_those_that_people_see(path):
    steps = {step.name: step for step in read_pipeline(path).steps}

    taken = {name: [branch.name for branch in step.branches] for name, step in steps.items()}
    assert {name: names for name, names in taken.items() if names} == {
        "promote": ["Gates passed"],
        "refused": ["Gates refused"],
        "undecided": ["Undecided"],
    }  # fmt: skip
    assert steps["notify"].is_exit_handler


def test_gates_promotion_and_catalog_are_never_cached():
    cacheable = {step.name for step in read_pipeline(VISUAL_SEARCH).steps if step.cacheable}

    assert cacheable == {"transform", "train", "embed", "index"}
    assert not any(step.cacheable for step in read_pipeline(RELEASE).steps)


def test_what_moves_or_tells_something_is_not_tried_again():
    document = yaml.safe_load(VISUAL_SEARCH.read_text())
    tasks = {
        name: task
        for component in [document["root"], *document["components"].values()]
        if "dag" in component
        for name, task in component["dag"]["tasks"].items()
    }

    once = {name for name, task in tasks.items()
            if "retryPolicy" not in task and "condition" not in name}  # fmt: skip
    assert once == {"promote", "notify", "exit-handler-1"}
    assert tasks["train"]["retryPolicy"] == {
        "maxRetryCount": 2,
        "backoffDuration": "60s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "900s",
    }


def test_every_step_may_take_so_long_and_no_longer():
    for path in FILES.values():
        assert all(step.timeout_s for step in read_pipeline(path).steps)


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
    assert names["notify.webhook_secret"].name == "notify_webhook_secret"
    assert names["train.margin"].name == "train_options.margin"
    assert "catalog" not in names


def test_an_unknown_pipeline_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="'relase': expected one of visual-search, release"):
        file_of("relase")


def test_another_profile_changes_resources_and_nothing_else():
    committed = yaml.safe_load(VISUAL_SEARCH.read_text())
    vertex = yaml.safe_load(compile_text("visual-search", Options(read_profile("vertex"))))

    resources = vertex["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]
    assert resources["accelerator"]["type"] == "NVIDIA_L4"
    for document in (committed, vertex):
        for executor in document["deploymentSpec"]["executors"].values():
            del executor["container"]["resources"]
    assert vertex == committed


def test_the_committed_file_asks_for_no_accelerator_and_has_one_document():
    for path in FILES.values():
        documents = list(yaml.safe_load_all(path.read_text()))
        assert len(documents) == 1
        for executor in documents[0]["deploymentSpec"]["executors"].values():
            assert "accelerator" not in executor["container"]["resources"]


def test_a_release_copy_names_images_by_digest(tmp_path):
    digests = tmp_path / "digests.json"
    pinned = {f"lookalike/{name}:0.1.0": PINNED.format(name) for name in IMAGES}
    digests.write_text(json.dumps(pinned))
    output = tmp_path / "release.yaml"
    run = CliRunner().invoke(
        compile_,
        ["--pipeline", "visual-search", "--pin-digests", str(digests), "--output", str(output)],
        catch_exceptions=False,
    )

    assert run.exit_code == 0, run.output
    images = {
        executor["container"]["image"]
        for executor in yaml.safe_load(output.read_text())["deploymentSpec"]["executors"].values()
    }
    assert images == {PINNED.format(name) for name in IMAGES}


def test_the_committed_file_is_never_pinned_or_given_another_profile():
    with pytest.raises(InputError, match="the committed file"):
        write_compiled("release", RELEASE, Options(read_profile("laptop")))
    run = CliRunner().invoke(compile_, ["--profile", "vertex"])
    assert run.exit_code == 2
    assert "give --output" in run.output
