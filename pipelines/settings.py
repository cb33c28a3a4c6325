"""Values for the pipeline's parameters: from a YAML file, then from `--set STEP.PARAMETER=VALUE`.

Unknown names are refused, with the nearest known one: a typing mistake in a threshold must not
leave the default in force unnoticed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from components.contracts.beam_options import join_beam_options
from components.contracts.errors import InputError
from pipelines.local.ir import Parameter, Scalar


def read_settings(path: Path, known: Mapping[str, Parameter]) -> dict[str, Scalar]:
    """Reads a YAML file of `step: {parameter: value}`, and of `parameter: value` for the others.

    Args:
        path: The file.
        known: The steps' parameters by dotted name (`pipelines.compiled.settable`).

    Returns:
        Value by pipeline parameter.

    Raises:
        InputError: The file cannot be read, or a name or a type in it is wrong.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"{path}: the settings cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected YAML ({error})") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected 'step: {{parameter: value}}', received no mapping")
    values: dict[str, Scalar] = {}
    for step, section in document.items():
        if not isinstance(section, dict) and step in known:
            parameter = known[step]
            values[parameter.name] = _checked(parameter, section, source=str(path))
            continue
        if not isinstance(section, dict):
            raise InputError(f"{path}: {step}: expected 'parameter: value' lines below the step")
        for name, value in section.items():
            parameter = find_parameter(f"{step}.{name}", known, source=str(path))
            values[parameter.name] = _checked(parameter, value, source=str(path))
    return values


def parse_assignments(
    assignments: Iterable[str], known: Mapping[str, Parameter]
) -> dict[str, Scalar]:
    """Parses `STEP.PARAMETER=VALUE` texts.

    Raises:
        InputError: A text has no `=`, names an unknown parameter, or a value of a wrong type.
    """
    values: dict[str, Scalar] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment}: expected STEP.PARAMETER=VALUE")
        parameter = find_parameter(name.strip(), known, source="--set")
        values[parameter.name] = parameter.parse(text)
    return values


def beam_assignments(options: Sequence[str]) -> tuple[str, ...]:
    """Returns `STEP.PARAMETER=VALUE` for each step that runs on Beam, from `--beam-option`s.

    Raises:
        InputError: A text is no option.
    """
    if not options:
        return ()
    text = join_beam_options(options, "--beam-option")
    return tuple(f"{step}.beam_options={text}" for step in ("transform", "embed"))


def find_parameter(dotted: str, known: Mapping[str, Parameter], *, source: str) -> Parameter:
    """Returns the pipeline parameter behind `step.parameter`.

    Raises:
        InputError: There is none; the message names the nearest.
    """
    if dotted not in known:
        near = difflib.get_close_matches(dotted, known, n=3, cutoff=0.5)
        advice = f"; did you mean {' or '.join(near)}?" if near else ""
        raise InputError(
            f"{source}: unknown parameter {dotted!r}{advice} (list them: lookalike parameters)"
        )
    return known[dotted]


def _checked(parameter: Parameter, value: object, *, source: str) -> Scalar:
    if parameter.type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not parameter.type:
        raise InputError(
            f"{source}: {parameter.name}: expected {parameter.type.__name__}, received "
            f"{value!r} ({type(value).__name__})"
        )
    return value  # type: ignore[return-value]
