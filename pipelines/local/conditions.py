"""Conditions of a compiled pipeline: read by a small parser, never handed to `eval`.

KFP writes a branch's condition as text, such as
`!(inputs.parameter_values['a'] == 'pass') && inputs.parameter_values['a'] == 'fail'`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from components.contracts.errors import InputError

_TOKENS = re.compile(
    r"\s*(?:(?P<name>inputs\.parameter_values\['(?P<key>[^']*)'\])"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<sign>==|!=|&&|\|\||!|\(|\))"
    r"|(?P<word>true|false)\b"
    r"|(?P<number>-?\d+(?:\.\d+)?))"
)

Value = str | int | float | bool


@dataclass(frozen=True)
class Name:
    """A value that is known when the branch is reached."""

    key: str


@dataclass(frozen=True)
class Same:
    """Whether two values are equal."""

    left: Name | Value
    right: Name | Value


@dataclass(frozen=True)
class Not:
    """The opposite."""

    part: Condition


@dataclass(frozen=True)
class All:
    """Whether all parts hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Any:
    """Whether at least one part holds."""

    parts: tuple[Condition, ...]


Condition = Same | Not | All | Any


def parse(text: str) -> Condition:
    """Reads a condition.

    Raises:
        InputError: It uses more than comparisons, `!`, `&&`, `||` and parentheses.
    """
    parser = _Parser(text)
    condition = parser.either()
    parser.end()
    return condition


def holds(condition: Condition, value_of: Callable[[str], Value]) -> bool:
    """Says whether a condition holds.

    Args:
        condition: The condition.
        value_of: Returns the value behind a name.
    """
    if isinstance(condition, Same):
        left, right = (
            value_of(side.key) if isinstance(side, Name) else side
            for side in (condition.left, condition.right)
        )
        return left == right
    if isinstance(condition, Not):
        return not holds(condition.part, value_of)
    results = (holds(part, value_of) for part in condition.parts)
    return all(results) if isinstance(condition, All) else any(results)


def names(condition: Condition) -> Iterator[str]:
    """Yields the names in a condition."""
    if isinstance(condition, Same):
        yield from (
            side.key for side in (condition.left, condition.right) if isinstance(side, Name)
        )
    elif isinstance(condition, Not):
        yield from names(condition.part)
    else:
        for part in condition.parts:
            yield from names(part)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, Name | Value]] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKENS.match(text, position)
            if match is None:
                raise self._wrong(text[position:])
            position = match.end()
            if match["name"]:
                self._tokens.append(("value", Name(match["key"])))
            elif match["text"]:
                self._tokens.append(("value", re.sub(r"\\(.)", r"\1", match["text"][1:-1])))
            elif match["word"]:
                self._tokens.append(("value", match["word"] == "true"))
            elif match["number"]:
                self._tokens.append(("value", float(match["number"])))
            else:
                self._tokens.append((match["sign"], ""))
        self._next = 0

    def _wrong(self, rest: str) -> InputError:
        return InputError(
            f"condition {self._text!r}: expected comparisons joined by &&, || and !, received "
            f"{rest[:40]!r}"
        )

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else "end"

    def _take(self, kind: str) -> Name | Value:
        if self._peek() != kind:
            raise self._wrong(f"{self._peek()} where {kind} should be")
        value = self._tokens[self._next][1]
        self._next += 1
        return value

    def end(self) -> None:
        if self._peek() != "end":
            raise self._wrong(self._peek())

    def either(self) -> Condition:
        parts = [self._both()]
        while self._peek() == "||":
            self._take("||")
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._peek() == "&&":
            self._take("&&")
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Condition:
        if self._peek() == "!":
            self._take("!")
            return Not(self._one())
        if self._peek() == "(":
            self._take("(")
            inner = self.either()
            self._take(")")
            return inner
        left = self._take("value")
        if self._peek() not in ("==", "!="):
            raise self._wrong(f"{self._peek()} where == or != should be")
        sign = self._peek()
        self._take(sign)
        same = Same(left, self._take("value"))
        return same if sign == "==" else Not(same)
