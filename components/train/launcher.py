"""Starts a training group where the backend says, and brings its result home."""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
from pathlib import Path

from components.contracts.errors import InputError
from components.contracts.files import (
    sha256_bytes,
    sha256_file,
    sha256_tree,
    write_atomically,
)
from components.train.backend_config import BackendConfig
from components.train.gpus import usable_gpus
from components.train.local_group import run_workers
from components.train.remote_job import JobService, run_job
from components.train.worker import HISTORY_FILE, WEIGHTS_FILE, Spec

_SPEC_FILE = "spec.json"
# The worker writes the history last.
_PREFIX = "lookalike-train"
# A name in Kubernetes has 63 characters; the operator and a later try add to ours.
_LONGEST_NAME = 63 - len("-worker-999") - len("-999")


def run_group(spec: Spec, backend: BackendConfig, *, name: str) -> None:
    """Trains what `spec` says; `spec.output` holds the result afterwards.

    A remote group works in `backend.staging`: the examples are copied there once, checkpoints stay
    there, so that a step that is tried again finds both, and the job.

    Args:
        spec: What to train.
        backend: Where.
        name: What tells this training from others: a short digest of the data and the parameters.

    Raises:
        InputError: The backend cannot be used as told.
        WorkerError: The group failed.
        CancelledError: SIGTERM came.
    """
    if backend.backend == "local":
        file = spec.checkpoints / _SPEC_FILE
        spec.write(file)
        run_workers(
            file, config=spec.config, heartbeats=spec.heartbeats, gpus=usable_gpus(os.environ)
        )
        return
    spec.config.check_devices(spec.config.workers * max(1, backend.gpus))
    job = job_name(backend.run_id, name)
    staged = _stage(spec, Path(backend.staging) / job)
    file = staged.checkpoints / _SPEC_FILE
    staged.write(file)
    result = [staged.output / WEIGHTS_FILE, staged.output / HISTORY_FILE]
    if not all(one.is_file() for one in result):
        run_job(
            _service(backend, file, spec),
            job,
            result=result,
            attempts=1 + spec.config.restarts,
            poll_seconds=backend.poll_seconds,
            deadline_seconds=backend.deadline_hours * 3600,
        )
    _bring_home(staged.output, spec.output)


def job_name(run_id: str, name: str) -> str:
    """Returns what a remote job and its staging directory are called.

    The run's id alone would give a later run of that id an earlier one's result.

    Args:
        run_id: The run's id, see `BackendConfig`; may be empty. One that is too long is cut, and
            keeps apart from others that begin alike by a digest of its own.
        name: A short digest of what is trained.
    """
    if not run_id:
        return f"{_PREFIX}-{name}"
    room = _LONGEST_NAME - len(f"{_PREFIX}--{name}")
    if len(run_id) > room:
        digest = sha256_bytes(run_id.encode())[:8]
        run_id = f"{run_id[: room - len(digest) - 1].rstrip('-')}-{digest}"
    return f"{_PREFIX}-{run_id}-{name}"


def _service(backend: BackendConfig, file: Path, spec: Spec) -> JobService:
    # Loaded here: a local group needs neither library.
    if backend.backend == "tfjob":
        from components.train.tfjob import TFJobs  # noqa: PLC0415

        return TFJobs(backend, spec=file, workers=spec.config.workers)
    from components.train.vertex_job import VertexJobs  # noqa: PLC0415

    return VertexJobs(
        backend, spec=file, workers=spec.config.workers, restarts=spec.config.restarts
    )


def _stage(spec: Spec, directory: Path) -> Spec:
    """Copies what the workers read to where they can read it.

    Raises:
        InputError: The staging directory does not take it.
    """
    examples = directory / f"examples-{sha256_tree(spec.examples)[:16]}"
    initial = spec.initial_weights
    try:
        for path in sorted(spec.examples.rglob("*")):
            if path.is_file():
                _copy(path, examples / path.relative_to(spec.examples), directory)
        if initial is not None:
            staged = directory / f"initial-{sha256_file(initial)[:16]}.npz"
            _copy(initial, staged, directory)
            initial = staged
    except OSError as error:
        raise InputError(
            f"train.backend.staging: expected a directory with room for the examples, on which "
            f"files can be written and renamed, received an error while copying to {directory}: "
            f"{error}; make room or mount it otherwise, and run the step again: what has been "
            "copied is kept"
        ) from error
    return dataclasses.replace(
        spec,
        examples=examples,
        checkpoints=directory / "checkpoints",
        output=directory / "result",
        initial_weights=initial,
    )


def _copy(source: Path, target: Path, scratch: Path) -> None:
    """Copies a file, whole or not at all, unless an earlier try did.

    One by one, as a bucket that is mounted as a file system renames files and no directories.
    """
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # No process id: two tries in containers have the same one.
    partial = scratch / f".copy-{secrets.token_hex(8)}"
    try:
        with source.open("rb") as reading, partial.open("xb") as writing:
            shutil.copyfileobj(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _bring_home(source: Path, target: Path) -> None:
    """Copies the result; the history last, as it says that the rest is there."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(HISTORY_FILE), dirs_exist_ok=True)
    write_atomically(target / HISTORY_FILE, (source / HISTORY_FILE).read_bytes())
