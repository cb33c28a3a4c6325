"""Errors that are meant for people: one line, with what was expected, what came, and what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

# Beam and TensorFlow pass an error on as text in one of their own.
_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT))


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


@contextlib.contextmanager
def full_disk_told(step: str) -> Iterator[None]:
    """Turns a full disk, whoever's error it arrives in, into words for people.

    Args:
        step: Whose work the body, or the decorated function, is.

    Raises:
        LookalikeError: A disk is full, or its quota is used up.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, LookalikeError) or not any(one in str(error) for one in _FULL):
            raise
        said = next(line for line in str(error).splitlines() if any(one in line for one in _FULL))
        raise LookalikeError(
            f"{step}: the disk is full ({said.strip()[:500]}). Nothing of this output is used: "
            "make room, or give the step more disk, and run it again"
        ) from error
