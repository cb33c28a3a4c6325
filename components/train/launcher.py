"""Starts a training group where the backend says, and brings its result home."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from components.contracts.files import sha256_tree
from components.train.backend_config import BackendConfig
from components.train.local_group import run_workers
from components.train.remote_job import JobService, run_job
from components.train.worker import Spec

_SPEC_FILE = "spec.json"


def run_group(spec: Spec, backend: BackendConfig, *, name: str) -> None:
    """Trains what `spec` says; `spec.output` holds the result afterwards.

    A remote group works in `backend.staging`: the examples are copied there once, checkpoints stay
    there, so that a step that is tried again finds both, and the job.

    Args:
        spec: What to train.
        backend: Where.
        name: What tells this training from others: a short digest.

    Raises:
        InputError: The backend cannot be used as told.
        WorkerError: The group failed.
        CancelledError: SIGTERM came.
    """
    if backend.backend == "local":
        file = spec.checkpoints / _SPEC_FILE
        spec.write(file)
        run_workers(file, config=spec.config, heartbeats=spec.heartbeats)
        return
    job = f"lookalike-train-{backend.run_id or name}"
    staged = _stage(spec, Path(backend.staging) / job)
    file = staged.checkpoints / _SPEC_FILE
    staged.write(file)
    if not (staged.output / "history.json").is_file():
        run_job(
            _service(backend, file, spec),
            job,
            # Kubernetes and Vertex start lost workers again by themselves.
            attempts=1 + min(1, spec.config.restarts),
            poll_seconds=backend.poll_seconds,
            deadline_seconds=backend.deadline_hours * 3600,
        )
    shutil.copytree(staged.output, spec.output, dirs_exist_ok=True)


def _service(backend: BackendConfig, file: Path, spec: Spec) -> JobService:
    # Loaded here: a local group needs neither library.
    if backend.backend == "tfjob":
        from components.train.tfjob import TFJobs as Jobs  # noqa: PLC0415
    else:
        from components.train.vertex_job import VertexJobs as Jobs  # type: ignore[assignment]  # noqa: PLC0415
    return Jobs(backend, spec=file, workers=spec.config.workers, restarts=spec.config.restarts)


def _stage(spec: Spec, directory: Path) -> Spec:
    """Copies what the workers read to where they can read it; whole or not at all."""
    examples = directory / f"examples-{sha256_tree(spec.examples)[:16]}"
    if not examples.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        partial = directory / f".{examples.name}.{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(spec.examples, partial)
        try:
            partial.rename(examples)
        except OSError:
            # Another try was faster; what it copied has the same content.
            shutil.rmtree(partial)
    initial = spec.initial_weights
    if initial is not None:
        shutil.copyfile(initial, directory / "initial_weights.npz")
        initial = directory / "initial_weights.npz"
    return dataclasses.replace(
        spec,
        examples=examples,
        checkpoints=directory / "checkpoints",
        output=directory / "result",
        initial_weights=initial,
    )
