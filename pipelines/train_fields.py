"""The fields of a training that have no parameter of their own, under names like all the others'.

They travel together in one parameter, `train.options`, a JSON object: the pipeline's page would
not be read with three dozen more. `--set train.margin=0.1` and `train: {margin: 0.1}` are folded
into it here, so that nobody needs to know which field is which.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.contracts.errors import InputError
from components.train.config import TrainConfig, read_options
from pipelines.local.ir import Parameter, Scalar

OPTIONS = "train_options"
_STEP = "train"


@dataclass(frozen=True)
class Field:
    """A field of `TrainConfig` that is set as if it were a parameter.

    Attributes:
        name: Where its value goes: `train_options.margin`, `train_options.augmentation.noise`.
        default: Its default; a pair of numbers is a list.
        description: For people.
    """

    name: str
    default: Any
    description: str

    @property
    def type(self) -> type:
        """The Python type of its values."""
        return type(self.default)

    def parse(self, text: str) -> Any:
        """Returns what `text` says; whether the field may be that, `TrainConfig` decides."""
        if self.type is bool:
            text = text.strip().lower()
        try:
            return json.loads(text)
        except ValueError:
            return text


def train_fields(parameters: Mapping[str, Parameter]) -> dict[str, Field]:
    """Returns the fields by dotted name, such as `train.margin` and `train.augmentation.noise`.

    Args:
        parameters: The pipeline's, by name; one of an older version may have no `train_options`,
            and then nothing can be set in this way.
    """
    if OPTIONS not in parameters:
        return {}
    return {
        f"{_STEP}.{name}": Field(f"{OPTIONS}.{name}", default, description)
        for name, default, description in _fields_of(TrainConfig())
        if f"{_STEP}_{name}" not in parameters
    }


def fold_fields(
    values: Mapping[str, Any], known: Mapping[str, Parameter | Field]
) -> dict[str, Scalar]:
    """Returns values in which `train_options` holds those of the fields.

    Args:
        values: Value by pipeline parameter and by `Field.name`.
        known: The steps' parameters and fields by dotted name.

    Raises:
        InputError: The options are given as fields and as text, are not a JSON object, or repeat
            what has a parameter of its own.
    """
    inside = f"{OPTIONS}."
    folded = {name: value for name, value in values.items() if not name.startswith(inside)}
    fields = {
        name.removeprefix(inside): value for name, value in values.items() if name not in folded
    }
    text = str(folded.get(OPTIONS, ""))
    own = {
        dotted.removeprefix(f"{_STEP}.")
        for dotted, parameter in known.items()
        if dotted.startswith(f"{_STEP}.") and isinstance(parameter, Parameter)
    }
    read_options(text, taken=own)
    if not fields:
        return folded
    if text:
        raise InputError(
            f"{_STEP}.options: expected this text or fields, received both it and "
            f"{', '.join(f'{_STEP}.{name}' for name in fields)}; set every field by its name"
        )
    # In one order: what was said in another order is the same training, and finished already.
    folded[OPTIONS] = json.dumps(_nested(fields), sort_keys=True, default=str)
    return folded


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        *path, last = name.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return nested


def _fields_of(config: Any) -> Iterator[tuple[str, Any, str]]:
    """Yields dotted name, default and description of each field, those of nested configs too."""
    documented = re.findall(
        r"^ {4}(\w+): (.*(?:\n {8}.*)*)", inspect.getdoc(type(config)) or "", re.MULTILINE
    )
    descriptions = {name: " ".join(text.split()) for name, text in documented}
    for field in dataclasses.fields(config):
        default = getattr(config, field.name)
        if dataclasses.is_dataclass(default):
            for name, inner, description in _fields_of(default):
                yield f"{field.name}.{name}", inner, description
        else:
            plain = list(default) if isinstance(default, tuple) else default
            yield field.name, plain, descriptions.get(field.name, "")
