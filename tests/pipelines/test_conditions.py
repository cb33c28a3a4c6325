from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from pipelines.local.conditions import holds, names, parse

A = "inputs.parameter_values['a']"
B = "inputs.parameter_values['b']"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{A} == 'pass'", True),
        (f"{A} != 'pass'", False),
        (f"!({A} == 'pass')", False),
        (f"!({A} == 'pass') && {A} == 'fail'", False),
        (f"{A} == 'fail' || {B} == 'x'", True),
        # && binds closer than ||.
        (f"{A} == 'pass' || {A} == 'fail' && {B} == 'fail'", True),
        (f"({A} == 'pass' || {A} == 'fail') && {B} == 'fail'", False),
        (f"{A} == {B}", False),
        (f'{A} == "pass"', True),
        ("true == true && !(false == true)", True),
        (f"{A} == 3", False),
    ],
)
def test_what_kfp_writes_is_understood(text, expected):
    assert holds(parse(text), {"a": "pass", "b": "x"}.__getitem__) is expected


def test_a_quote_within_a_text_is_a_quote():
    assert holds(parse(rf"{A} == 'it\'s'"), lambda _: "it's")


def test_the_names_are_found():
    assert list(names(parse(f"!({A} == 'x') && ({B} != 'y' || 'z' == {A})"))) == ["a", "b", "a"]


@pytest.mark.parametrize(
    "text",
    ["", A, f"{A} ==", f"{A} = 'x'", f"{A} == 'x' &&", f"({A} == 'x'", f"{A} == 'x')",
     "__import__('os').system('true')", f"{A} == open('x')", f"{A} > 3"],
)  # fmt: skip
def test_everything_else_is_refused(text):
    with pytest.raises(InputError, match="expected comparisons"):
        parse(text)
