"""Values for the pipeline's parameters: from a YAML file, then from `--set STEP.PARAMETER=VALUE`.

Unknown names are refused, with the nearest known one: a typing mistake in a threshold must not
leave the default in force unnoticed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from components.contracts.beam_options import join_beam_options
from components.contracts.errors import InputError
from pipelines.local.ir import Parameter, Scalar
from pipelines.train_fields import Field, fold_fields

Known = Mapping[str, Parameter | Field]


def read_values(config: Path | None, assignments: Iterable[str], known: Known) -> dict[str, Scalar]:
    """Returns what a file and the command line set, the latter winning.

    Args:
        config: A YAML file, see `read_settings`; None for none.
        assignments: `STEP.PARAMETER=VALUE` texts.
        known: The steps' parameters by dotted name (`pipelines.compiled.settable`).

    Returns:
        Value by pipeline parameter.

    Raises:
        InputError: The file cannot be read, or a name or a type is wrong.
    """
    values = read_settings(config, known) if config else {}
    values.update(parse_assignments(assignments, known))
    return fold_fields(values, known)


def read_settings(path: Path, known: Known) -> dict[str, Any]:
    """Reads a YAML file of `step: {parameter: value}`, and of `parameter: value` for the others.

    Args:
        path: The file.
        known: The steps' parameters by dotted name (`pipelines.compiled.settable`).

    Returns:
        Value by the name of the parameter or field.

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
    values: dict[str, Any] = {}
    for step, section in document.items():
        if not isinstance(section, dict) and step in known:
            parameter = known[step]
            values[parameter.name] = _checked(parameter, section, source=str(path))
            continue
        if not isinstance(section, dict):
            raise InputError(f"{path}: {step}: expected 'parameter: value' lines below the step")
        for name, value in _lines(str(step), section, known):
            parameter = find_parameter(name, known, source=str(path))
            values[parameter.name] = _checked(parameter, value, source=str(path))
    return values


def _lines(prefix: str, section: Mapping[Any, Any], known: Known) -> Iterator[tuple[str, Any]]:
    """Yields the dotted name and the value of each line of a section and of those within it."""
    for name, value in section.items():
        dotted = f"{prefix}.{name}"
        if isinstance(value, dict) and dotted not in known:
            yield from _lines(dotted, value, known)
        else:
            yield dotted, value


def parse_assignments(assignments: Iterable[str], known: Known) -> dict[str, Any]:
    """Parses `STEP.PARAMETER=VALUE` texts.

    Returns:
        Value by the name of the parameter or field.

    Raises:
        InputError: A text has no `=`, names an unknown parameter, or a value of a wrong type.
    """
    values: dict[str, Any] = {}
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


def find_parameter(dotted: str, known: Known, *, source: str) -> Parameter | Field:
    """Returns the pipeline parameter, or the field, behind `step.parameter`.

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


def _checked(parameter: Parameter | Field, value: Any, *, source: str) -> Any:
    if isinstance(parameter, Field):
        # Its config says what it may be, by name, in `pipelines.values`.
        return value
    if parameter.type is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not parameter.type:
        raise InputError(
            f"{source}: {parameter.name}: expected {parameter.type.__name__}, received "
            f"{value!r} ({type(value).__name__})"
        )
    return value
