from __future__ import annotations

import pytest
import yaml

from components.contracts.errors import InputError
from pipelines.compiled import FILES
from pipelines.local.ir import RUN_ID, FromPipeline, FromStep, read_pipeline
from pipelines.local.ir_graph import flatten, timeout_of
from pipelines.tasks import TASKS


def test_branches_and_what_an_exit_handler_guards_become_one_list(branching):
    steps = {step.name: step for step in read_pipeline(branching).steps}

    assert list(steps) == ["gate", "passed", "held", "held_2", "tell"]
    assert [branch.name for branch in steps["held_2"].branches] == ["Undecided"]
    assert steps["gate"].branches == ()
    assert steps["tell"].is_exit_handler
    assert steps["tell"].status_parameter == "status"
    assert steps["tell"].parameters == {"run": RUN_ID}
    assert steps["held_2"].title == "What is missing"


def test_values_are_followed_through_the_graphs_to_where_they_come_from(branching):
    steps = {step.name: step for step in read_pipeline(branching).steps}

    assert steps["gate"].parameters == {"answer": FromPipeline("answer")}
    assert steps["passed"].parameters == {
        "answer": FromStep("gate", "Output"),
        "mark": FromPipeline("mark"),
    }
    assert list(steps["passed"].branches[0].values.values()) == [FromStep("gate", "Output")]


def test_an_output_is_followed_out_of_a_graph(branching):
    document = yaml.safe_load(branching.read_text())
    inner = document["components"]["comp-exit-handler-1"]["dag"]
    inner["outputs"] = {
        "parameters": {
            "up": {
                "valueFromParameter": {"producerSubtask": "gate", "outputParameterKey": "Output"}
            }
        }
    }
    document["root"]["dag"]["tasks"]["tell"]["inputs"]["parameters"]["run"] = {
        "taskOutputParameter": {"producerTask": "exit-handler-1", "outputParameterKey": "up"}
    }

    steps = {step.name: step for step in flatten(document)}

    assert steps["tell"].parameters == {"run": FromStep("gate", "Output")}


def test_a_loop_is_refused_by_name(branching):
    document = yaml.safe_load(branching.read_text())
    document["root"]["dag"]["tasks"]["exit-handler-1"]["parameterIterator"] = {"items": {}}

    with pytest.raises(InputError, match="'exit-handler-1' is a loop"):
        flatten(document)


@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        (["sh", "-ec"], None),
        ([], None),
        (["timeout", "90", "sh"], 90),
        (["timeout", "--kill-after=60s", "2h", "sh"], 7200),
        (["timeout", "1.5m", "sh"], 90),
    ],
)
def test_a_timeout_before_the_command_is_read(command, seconds):
    assert timeout_of(command) == seconds


def test_the_committed_pipelines_are_tried_again_as_their_tasks_say():
    steps = {step.name: step for step in read_pipeline(FILES["visual-search"]).steps}

    for name, policy in TASKS.items():
        if name in steps:
            assert steps[name].retry.times == policy.retries, name
    assert steps["promote"].retry.times == steps["notify"].retry.times == 0
    # After 1 and 2 minutes, and never later than 15.
    assert [steps["train"].retry.pause(failures) for failures in (1, 2, 9)] == [60, 120, 900]


def test_a_threshold_of_a_gate_reaches_no_step_before_it():
    steps = {step.name: step for step in read_pipeline(FILES["visual-search"]).steps}
    order = list(steps)
    reads = {
        name: {s.name for s in step.parameters.values() if isinstance(s, FromPipeline)}
        for name, step in steps.items()
    }

    for gate in ("evaluate", "human_eval"):
        before = order[: order.index(gate)]
        assert {"catalog", "transform", "train", "embed", "index"} <= set(before)
        for name in before:
            assert not {p for p in reads[name] if p.startswith(f"{gate}_")}, name
        assert any(p.startswith(f"{gate}_") for p in reads[gate])
