"""What a run of the pipeline came to, kept while it runs: `runs/<run>/<part>.json`.

The exit handler cannot read what steps returned, since some of them may never have run. It reads
this record instead, which each step that decides something writes for itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

from components.contracts.errors import InputError
from components.registry.object_store import ObjectNotFoundError, ObjectStore

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_run(run: str) -> str:
    """Returns the run's id when it is one.

    Raises:
        InputError: It is not made of letters, digits, dots, underscores and hyphens. A backend that
            left its placeholder unresolved ends here.
    """
    if not _NAME.fullmatch(run):
        raise InputError(
            f"run {run!r}: expected letters, digits, dots, underscores and hyphens, at most 128"
        )
    return run


def record(store: ObjectStore, run: str, part: str, value: dict[str, Any]) -> None:
    """Keeps a part of a run's record; a step that is tried again replaces its own part.

    Args:
        store: The registry's store.
        run: The run's id.
        part: Who speaks, such as `gates`.
        value: What it has to say.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=True)
    store.write(_key(run, part), f"{text}\n".encode())


def read(store: ObjectStore, run: str, part: str) -> dict[str, Any] | None:
    """Returns a part of a run's record; None when the run did not come that far.

    Raises:
        InputError: There is one, and it cannot be read.
    """
    key = _key(run, part)
    try:
        data, _ = store.read(key)
    except ObjectNotFoundError:
        return None
    try:
        value = json.loads(data)
    except ValueError as error:
        raise InputError(f"{store.uri}: {key}: expected JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{store.uri}: {key}: expected an object, received {value!r}")
    return value


def _key(run: str, part: str) -> str:
    return f"runs/{check_run(run)}/{part}.json"
