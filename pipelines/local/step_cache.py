"""Finished steps, kept by what went into them, so that nothing is computed twice.

A step's key is a hash of its compiled body, the code that its image would hold, its parameters,
and the keys of the steps before it. A result is a directory that gets its `result.json`, and then
its final name, only when the step has ended well: what a kill leaves behind keeps the suffix
`.partial` and is never taken for whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError
from components.contracts.files import read_json, sha256_bytes, write_json
from pipelines.local.ir import BELOW_THE_STEPS, Scalar, Step

_RESULT_FILE = "result.json"
_CODE_ROOT = Path(__file__).resolve().parents[2]
# Results of one step that are kept; older ones are removed after a run that ended well.
_KEEP = 5
# What a later attempt at the same work may go on from; everything else starts afresh.
_RESUMABLE_ARTIFACTS = ("checkpoints",)


@dataclass(frozen=True)
class StepResult:
    """What a finished step left.

    Attributes:
        step: The step's name.
        key: The hash that it is kept under.
        identity: Differs each time the step runs: what comes after hangs on this very result, not
            on another one under the same key.
        outputs: The output parameters.
        artifacts: Local path by output artifact.
        metadata: What the step logged on its artifacts, by artifact.
        seconds: How long the step took when it ran.
        cached: Whether this run found it finished.
    """

    step: str
    key: str
    identity: str
    outputs: Mapping[str, Scalar]
    artifacts: Mapping[str, Path]
    metadata: Mapping[str, Any]
    seconds: float
    cached: bool


@cache
def code_digest(folder: str) -> str:
    """Returns a digest of the code of a step: its folder and what lies below the steps."""
    folders = [_CODE_ROOT / "components" / name for name in (folder, *BELOW_THE_STEPS)]
    if folder == "evaluate":
        # The step asks the real server, so the server's code is part of what it measures.
        folders.append(_CODE_ROOT / "serving")
    lines = [
        f"{path.relative_to(_CODE_ROOT).as_posix()} {sha256_bytes(path.read_bytes())}"
        for place in folders
        for path in sorted(place.rglob("*"))
        if path.suffix in (".py", ".css", ".html", ".js", ".yaml")
    ]
    return sha256_bytes("\n".join(lines).encode())


def folder_fingerprint(folder: Path, *, leave_out: Path) -> str:
    """Returns a digest of names, sizes and modification times below `folder`.

    A catalog's images are not read for this: a changed file changes its size or its time.

    Args:
        folder: Where to look.
        leave_out: A folder to pass over (the workspace may lie within the catalog's folder).
    """
    lines: list[str] = []
    stack = [folder]
    while stack:
        current = stack.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if path.resolve() != leave_out.resolve() and not entry.name.startswith("."):
                        stack.append(path)
                    continue
                # A file that vanishes meanwhile is not there: the step will say so.
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    lines.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
    return sha256_bytes("\n".join(sorted(lines)).encode())


def step_key(
    step: Step,
    parameters: Mapping[str, Scalar],
    upstream: Mapping[str, str],
    outside: str,
) -> str:
    """Returns the key of a step.

    Args:
        step: The step.
        parameters: Every value that it is called with.
        upstream: Identity by name of the results that it reads.
        outside: Fingerprint of what it reads from outside the pipeline; empty when nothing.
    """
    parts = {
        "source": step.source,
        "code": code_digest(step.folder),
        "parameters": dict(parameters),
        "upstream": dict(upstream),
        "outside": outside,
    }
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def artifact_paths(step: Step, directory: Path) -> dict[str, Path]:
    """Returns where each output artifact of a step lies below its result's directory.

    Reports get the suffix that a browser needs to show them from disk.
    """
    suffixes = {"system.HTML": ".html", "system.Markdown": ".md"}
    return {
        name: directory / "outputs" / f"{name}{suffixes.get(schema, '')}"
        for name, schema in step.output_artifacts.items()
    }


class StepCache:
    """The finished steps of one workspace."""

    def __init__(self, root: Path) -> None:
        """Keeps results below `root`."""
        self._root = root

    def _directory(self, step: str, key: str) -> Path:
        return self._root / step / key[:24]

    def find(self, step: Step, key: str) -> StepResult | None:
        """Returns the finished result, None when there is none."""
        directory = self._directory(step.name, key)
        if not (directory / _RESULT_FILE).is_file():
            return None
        try:
            record = read_json(directory / _RESULT_FILE)
            result = StepResult(
                step=step.name,
                key=record["key"],
                identity=record["identity"],
                outputs=record["outputs"],
                artifacts=artifact_paths(step, directory),
                metadata=record["metadata"],
                seconds=float(record["seconds"]),
                cached=True,
            )
        except (InputError, KeyError, TypeError, ValueError):
            return None
        whole = result.key == key and all(
            path.exists() or name in record["absent"] for name, path in result.artifacts.items()
        )
        return result if whole else None

    def begin(self, step: Step, key: str) -> Path:
        """Returns the directory to run in, cleared of what a new attempt cannot go on from."""
        partial = self._directory(step.name, key).with_suffix(".partial")
        outputs = partial / "outputs"
        if outputs.is_dir():
            for entry in outputs.iterdir():
                if entry.name in _RESUMABLE_ARTIFACTS:
                    continue
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        outputs.mkdir(parents=True, exist_ok=True)
        return partial

    def finish(self, partial: Path, result: StepResult) -> StepResult:
        """Makes a result visible under its key and returns it at its final place."""
        directory = self._directory(result.step, result.key)
        record = asdict(result)
        del record["artifacts"], record["cached"]
        record["absent"] = sorted(
            name for name, path in result.artifacts.items() if not path.exists()
        )
        write_json(partial / _RESULT_FILE, record)
        if directory.exists():
            shutil.rmtree(directory)
        partial.rename(directory)
        return replace(
            result,
            artifacts={
                name: directory / path.relative_to(partial)
                for name, path in result.artifacts.items()
            },
        )

    def prune(self) -> None:
        """Removes all but the newest results of each step."""
        if not self._root.is_dir():
            return
        for step in self._root.iterdir():
            results = sorted(step.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
            for old in results[_KEEP:]:
                with contextlib.suppress(OSError):
                    shutil.rmtree(old)

    def touch(self, result: StepResult) -> None:
        """Marks a result as used, so that `prune` keeps it."""
        with contextlib.suppress(OSError):
            os.utime(self._directory(result.step, result.key))
