"""Errors that are meant for people: one line, with what was expected, what came, and what to do."""

from __future__ import annotations


class LookalikeError(Exception):
    """A failure whose message is written for the person who runs the program.

    The command line prints the message without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class InputError(LookalikeError):
    """Something the user gave (a file, a row, a parameter, a name) cannot be used."""

    exit_code = 2


class SetAsideError(ValueError):
    """One bad thing among many, which is counted and set aside and stops nothing.

    Attributes:
        reason: A stable short word to count by.
    """

    def __init__(self, reason: str, detail: str) -> None:
        """Keeps the reason beside the text for people."""
        super().__init__(detail)
        self.reason = reason
