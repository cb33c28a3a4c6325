"""Files that are either whole or absent, and their digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from components.contracts.errors import InputError

_CHUNK = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """Returns the SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the SHA-256 of the file's content as 64 lower-case hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_tree(root: Path) -> str:
    """Returns one SHA-256 over the relative names and contents of every file below `root`."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes | str) -> None:
    """Writes `data` so that a reader, or a kill at any moment, sees the old file or the new one.

    Text is written as UTF-8. Missing parent directories are made.
    """
    with _replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yields a file that takes the place of `path` when all is written, and never else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; an artifact is read by other users and containers.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys; refuses NaN and infinities."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: The file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: expected a JSON file, found nothing there") from None
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, received something else ({error})") from None


def write_json_lines(path: Path, records: Iterable[dict[str, Any]]) -> int:
    """Writes one JSON object a line, atomically and as they come; returns how many."""
    count = 0
    with _replacing(path) as file:
        for record in records:
            count += 1
            line = json.dumps(record, sort_keys=True, allow_nan=False, ensure_ascii=False)
            file.write(line.encode() + b"\n")
    return count


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON-lines file.

    Raises:
        InputError: A line is not a JSON object; the message names the file and the line.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a JSON-lines file, found nothing there")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: expected JSON ({error})") from None
            if not isinstance(record, dict):
                raise InputError(
                    f"{path}, line {number}: expected a JSON object, received "
                    f"{type(record).__name__}"
                )
            yield record


def fresh_directory(path: Path) -> Path:
    """Empties `path` of what a killed attempt may have left, makes it, and returns it."""
    if path.is_dir():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path
