"""Each fault is planted in a pipeline without faults, and found by name."""

from __future__ import annotations

import copy

import pytest
import yaml

from components.contracts.errors import LookalikeError
from pipelines.compiled import FILES, RELEASE
from pipelines.lint import find_faults, refuse_faults

TASKS = ("components", "comp-exit-handler-1", "dag", "tasks")


@pytest.fixture(scope="module")
def release():
    return yaml.safe_load(RELEASE.read_text())


@pytest.fixture
def document(release):
    return copy.deepcopy(release)


def at(document, *path):
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize("path", FILES.values())
def test_the_committed_files_have_none(path):
    assert list(find_faults(list(yaml.safe_load_all(path.read_text())))) == []


def _set(*path_and_value):
    *path, key, value = path_and_value

    def plant(document):
        at(document, *path)[key] = value

    return plant


def _drop(*path):
    def plant(document):
        del at(document, *path[:-1])[path[-1]]

    return plant


JUDGE = ("deploymentSpec", "executors", "exec-judge", "container")


@pytest.mark.parametrize(
    ("plant", "fault"),
    [
        (_set("schemaFashion", 1), "KFP cannot read it"),
        (_set(*JUDGE, "imagePullPower", "much"), "KFP cannot read the executor exec-judge"),
        (_set(*JUDGE, "image", "host/{{$.image}}:1"), "is a template"),
        (_set(*JUDGE, "image", "host/ops"), "has neither tag nor digest"),
        (_set(*JUDGE, "image", "host/ops:latest"), "whatever came last"),
        (_set(*JUDGE, "command", ["sh", "-c", "python3 -m pip install kfp"]),
         "executor exec-judge: installs packages at run time"),
        (_set(*JUDGE, "command", ["sh", "-c", "true"]), "executor exec-judge: has no time-out"),
        (_set(*TASKS, "judge", "cachingOptions", {"enableCache": True}), "task judge is cached"),
        (_set("root", "dag", "tasks", "notify", "cachingOptions", {"enableCache": True}),
         "task notify is an exit handler and cached"),
        (_set("root", "inputDefinitions", "parameters", "version", "description", "v"),
         "parameter version: has no description"),
        (_set("pipelineInfo", "description", ""), "the pipeline has no description"),
        (_set(*TASKS, "judge", "taskInfo", "name", "judge"), "task judge has no display name"),
        (_set(*TASKS, "judge", "componentRef", "name", "comp-jury"),
         "task judge: the component 'comp-jury' does not exist"),
        (_set(*TASKS, "gates", "dependentTasks", ["jury"]), "waits for 'jury'"),
        (_set(*TASKS, "gates", "inputs", "parameters", "human",
              {"taskOutputParameter": {"producerTask": "judge", "outputParameterKey": "mood"}}),
         "task gates: human: judge has no output 'mood'"),
        (_set(*TASKS, "gates", "inputs", "parameters", "human",
              {"taskOutputParameter": {"producerTask": "jury", "outputParameterKey": "status"}}),
         "comes from the task 'jury', which does not exist"),
        (_set(*TASKS, "gates", "inputs", "parameters", "human",
              {"componentInputParameter": "nobody"}),
         "comes from the input 'nobody', which does not exist"),
        (_set(*TASKS, "gates", "inputs", "parameters", "mood", {"runtimeValue": {"constant": "x"}}),
         "gives 'mood', which comp-gates does not take"),
        (_drop(*TASKS, "gates", "inputs", "parameters", "human"),
         "comp-gates needs 'human' and does not get it"),
        (_set("root", "dag", "tasks", "notify", "inputs", "parameters", "status",
              {"taskFinalStatus": {"producerTask": "nothing"}}),
         "is the status of 'nothing', which does not exist"),
        (_set("components", "comp-gates", "executorLabel", "exec-x"),
         "component comp-gates: the executor 'exec-x' does not exist"),
        (_set("root", "inputDefinitions", "parameters", "channel", "defaultValue",
              "https://hooks.slack.com/services/T0"), "looks like a credential"),
    ],
)  # fmt: skip
def test_a_fault_is_found_and_named(document, plant, fault):
    plant(document)

    assert any(fault in found for found in find_faults([document])), list(find_faults([document]))


def test_a_component_that_nothing_uses_is_found(document):
    document["components"]["comp-old"] = {"dag": {"tasks": {}}}

    assert "component comp-old: no task uses it" in list(find_faults([document]))


def test_all_faults_are_told_at_once(document):
    _set(*JUDGE, "image", "host/ops")(document)
    _set("pipelineInfo", "description", "")(document)

    with pytest.raises(LookalikeError) as caught:
        refuse_faults([document], source="x.yaml")

    assert str(caught.value).startswith("x.yaml: 2 faults")


@pytest.mark.parametrize("documents", [[], [None], ["text"]])
def test_what_is_no_pipeline_is_said_so(documents):
    assert list(find_faults(documents)) == ["expected a compiled pipeline, received no mapping"]


def test_the_second_document_is_read_as_kfp_does(document):
    faults = list(find_faults([document, {"platforms": {"kubernetes": {"nonsense": 1}}}]))

    assert any("the second document" in fault for fault in faults)
