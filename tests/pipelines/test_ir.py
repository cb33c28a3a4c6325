from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from pipelines.local.ir import FromPipeline, FromStep, Parameter, read_pipeline


def test_steps_come_in_an_order_in_which_they_can_run(toy):
    pipeline = read_pipeline(toy)

    assert [step.name for step in pipeline.steps] == ["first", "second"]


def test_wiring_is_read(toy):
    first, second = read_pipeline(toy).steps

    assert first.parameters == {"number": FromPipeline("first_number"), "trouble": "none"}
    assert second.parameters["doubled"] == FromStep("first", "doubled")
    assert second.artifacts == {"table": FromStep("first", "table")}
    assert first.output_artifacts == {"table": "system.Dataset", "report": "system.HTML"}
    assert first.cacheable
    assert not second.cacheable
    assert "def second(" in second.source


def test_numbers_keep_the_type_that_the_pipeline_declares(toy):
    parameters = read_pipeline(toy).parameters

    assert parameters["first_number"].default == 3
    assert type(parameters["first_number"].default) is int
    assert parameters["needed"].default is None


def test_something_else_is_refused_by_name(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text("components: {}\n")

    with pytest.raises(InputError, match=r"other\.yaml: expected a compiled pipeline"):
        read_pipeline(path)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(int, "7", 7), (float, "1e-3", 0.001), (bool, "True", True), (str, "a b", "a b")],
)
def test_texts_become_values(kind, text, value):
    assert Parameter("x", kind, None, "").parse(text) == value


@pytest.mark.parametrize(("kind", "text"), [(int, "7.5"), (float, "many"), (bool, "yes")])
def test_texts_of_another_type_are_refused(kind, text):
    with pytest.raises(InputError, match=f"train_x: expected .*received '{text}'"):
        Parameter("train_x", kind, None, "").parse(text)
