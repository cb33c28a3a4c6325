"""One run on this machine: parameters, registry, the steps, and the summary."""

from __future__ import annotations

import datetime
import fcntl
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from components.contracts import incumbent as incumbents
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import (
    read_json,
    sha256_bytes,
    sha256_file,
    write_atomically,
    write_json,
)
from components.registry.policy import Policy
from components.registry.registry import Registry
from pipelines.compiled import RELEASE, VISUAL_SEARCH, check_fresh, settable
from pipelines.local.ir import Parameter, Pipeline, Scalar, read_pipeline
from pipelines.local.runner import Run, run_pipeline
from pipelines.local.step_cache import StepResult, code_digest, folder_fingerprint
from pipelines.local.summary import Summary, read_summary, to_page
from pipelines.local.watch import LiveTable, PlainLines
from pipelines.settings import read_values
from pipelines.values import check_values

DEMO_CHANNEL = "demo"
# The one channel that takes simulated ratings unless someone wrote it another policy.
DEMO_POLICY = Policy(allow_simulated=True)


@dataclass(frozen=True)
class Inputs:
    """The tables of a run; votes and queries may be absent."""

    catalog: Path
    taxonomy: Path
    votes: Path | None = None
    queries: Path | None = None


def run_locally(
    inputs: Inputs,
    *,
    workspace: Path,
    channel: str,
    mode: str,
    raters: str,
    config: Path | None,
    assignments: Sequence[str],
    registry: str = "",
) -> Summary:
    """Runs the compiled pipeline on this machine.

    Args:
        inputs: The tables.
        workspace: Where results, logs, the report and the registry are kept.
        channel: The channel to promote on.
        mode: `auto`, `scratch`, `warm` or `reuse`.
        raters: `simulated`, `web` or `none`.
        config: A YAML file of settings; None for the defaults.
        assignments: `STEP.PARAMETER=VALUE` texts; they win over the file.
        registry: The registry; empty for the workspace's own.

    Returns:
        What the run came to.

    Raises:
        InputError: A parameter or an input cannot be used.
        StepFailedError: A step failed; finished steps are kept for the next run.
    """
    pipeline = read_pipeline(VISUAL_SEARCH)
    settings = _settings(pipeline, config, assignments)
    check_values({"channel": channel, "mode": mode, "raters": raters, **settings})
    _check_inputs(inputs)
    with _workspace(workspace, registry, channel) as place:
        outside = _fingerprint(inputs, place.workspace)
        given: dict[str, Scalar] = {
            "catalog": str(inputs.catalog.resolve()),
            "taxonomy": str(inputs.taxonomy.resolve()),
            "votes": str(inputs.votes.resolve()) if inputs.votes else "",
            "queries": str(inputs.queries.resolve()) if inputs.queries else "",
            "registry": place.registry.uri,
            "channel": channel,
            "mode": mode,
            "raters": raters,
            **settings,
        }
        identity = _identity(pipeline, given, outside)
        given["incumbent"] = _incumbent(place.registry, channel, place.workspace, identity)
        _check_mode(mode, str(given["incumbent"]), assignments)
        if raters == "none":
            print(
                "raters none: nobody will judge the candidate, so this run cannot promote it "
                "(--raters web asks people)",
                file=sys.stderr,
            )
        summary = _run(pipeline, given, place, {"catalog": outside})
        write_json(
            _run_file(place.workspace, identity),
            {
                "incumbent": given["incumbent"],
                "version": summary.version,
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
        )
        return summary


def release_locally(
    *,
    workspace: Path,
    channel: str,
    version: str,
    config: Path | None,
    assignments: Sequence[str],
    registry: str = "",
) -> Summary:
    """Runs the compiled release pipeline: judges a candidate whose ratings came later.

    Args:
        workspace: The workspace of the run that built the candidate, or a new one.
        channel: The channel to promote on.
        version: The candidate; empty for the one that the channel's raters are at.
        config: A YAML file of settings; None for the defaults.
        assignments: `STEP.PARAMETER=VALUE` texts; they win over the file.
        registry: The registry; empty for the workspace's own.

    Raises:
        InputError: A parameter cannot be used.
        StepFailedError: A step failed.
    """
    pipeline = read_pipeline(RELEASE)
    settings = _settings(pipeline, config, assignments)
    check_values({"channel": channel, **settings})
    with _workspace(workspace, registry, channel) as place:
        given = {
            "registry": place.registry.uri,
            "channel": channel,
            "version": version,
            **settings,
        }
        return _run(pipeline, given, place, {})


def _settings(
    pipeline: Pipeline, config: Path | None, assignments: Sequence[str]
) -> dict[str, Scalar]:
    check_fresh(pipeline)
    return read_values(config, assignments, settable(pipeline))


@dataclass(frozen=True)
class _Place:
    """Where a run works: its folder, the lock on it, and the registry."""

    workspace: Path
    lock: int
    registry: Registry
    channel: str


@contextmanager
def _workspace(workspace: Path, registry: str, channel: str) -> Iterator[_Place]:
    workspace = workspace.resolve()
    workspace.mkdir(parents=True, exist_ok=True)
    with _only_one(workspace) as lock, _sigterm_interrupts():
        opened = Registry.open(registry or str(workspace / "registry"))
        if channel == DEMO_CHANNEL and not registry:
            opened.set_policy(channel, DEMO_POLICY)
        yield _Place(workspace, lock, opened, channel)


def _run(
    pipeline: Pipeline, given: Mapping[str, Scalar], place: _Place, outside: Mapping[str, str]
) -> Summary:
    start = time.monotonic()
    now = datetime.datetime.now(datetime.UTC)
    run = Run(
        workspace=place.workspace,
        parameters=_complete(pipeline.parameters, given),
        outside=outside,
        lock=place.lock,
        still_good=lambda result: _is_published(place.registry, result),
        run_id=f"local-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
    )
    with _observer([step.name for step in pipeline.steps]) as observer:
        results = run_pipeline(pipeline, run, observer)
    summary = read_summary(
        results,
        run_id=run.run_id,
        pipeline=pipeline.name,
        registry=place.registry,
        channel=place.channel,
        workspace=place.workspace,
        seconds=time.monotonic() - start,
    )
    write_json(place.workspace / "summary.json", summary.to_json())
    write_atomically(place.workspace / "report.html", to_page(summary))
    return summary


def _check_inputs(inputs: Inputs) -> None:
    for name in ("catalog", "taxonomy", "votes", "queries"):
        path: Path | None = getattr(inputs, name)
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"--{name} {path}: expected a table, received a folder")
        if not path.exists():
            raise InputError(f"--{name} {path}: expected a table, found no file")
        if not os.access(path, os.R_OK):
            raise InputError(f"--{name} {path}: no permission to read it")


@contextmanager
def _only_one(workspace: Path) -> Iterator[int]:
    """Keeps a second run out of the workspace; yields the lock's file descriptor."""
    with (workspace / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LookalikeError(
                f"{workspace}: another run works here; wait for it or use another --workspace"
            ) from None
        yield lock.fileno()


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Ends the running step before this process when it is told to stop, as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {name: signal.signal(name, interrupt) for name in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _observer(steps: Sequence[str]) -> LiveTable | PlainLines:
    console = Console(stderr=True)
    return LiveTable(steps, console) if sys.stderr.isatty() else PlainLines()


def _fingerprint(inputs: Inputs, workspace: Path) -> str:
    """Returns a digest of the tables' content and of the image files' names, sizes and times."""
    tables = [inputs.catalog, inputs.taxonomy, inputs.votes, inputs.queries]
    parts = [sha256_file(table) if table else "" for table in tables]
    folders = {inputs.catalog.resolve().parent}
    if inputs.queries:
        folders.add(inputs.queries.resolve().parent)
    parts.extend(folder_fingerprint(folder, leave_out=workspace) for folder in sorted(folders))
    return sha256_bytes("\n".join(parts).encode())


def _identity(pipeline: Pipeline, given: Mapping[str, Scalar], outside: str) -> str:
    """Returns a digest of all that a run depends on but the channel's state."""
    parts = [
        outside,
        *(f"{name}={value!r}" for name, value in sorted(given.items())),
        *(f"{step.name} {step.source} {code_digest(step.folder)}" for step in pipeline.steps),
    ]
    return sha256_bytes("\n".join(parts).encode())


def _incumbent(registry: Registry, channel: str, workspace: Path, identity: str) -> str:
    """Returns the version to compare with: what is live, or `none`.

    The run that made the live version compared with the one before it. Run again with nothing
    changed, it finds its own steps finished only when it compares with that one again.
    """
    live = registry.channel(channel).live
    record_file = _run_file(workspace, identity)
    if live and record_file.is_file():
        record = read_json(record_file)
        before = str(record["incumbent"])
        if record["version"] == live and (before == incumbents.NONE or registry.has(before)):
            return before
    return live or incumbents.NONE


def _run_file(workspace: Path, identity: str) -> Path:
    """Returns where a run of exactly this remembers what it compared with."""
    return workspace / "runs" / f"{identity[:24]}.json"


def _check_mode(mode: str, incumbent: str, assignments: Sequence[str]) -> None:
    """Refuses settings for a training that mode auto may leave out."""
    ignored = [text for text in assignments if text.startswith(("train.", "transform."))]
    if mode == "auto" and incumbent != incumbents.NONE and ignored:
        raise InputError(
            f"--set {ignored[0]}: {incumbent} is live, and mode auto keeps its encoder when little "
            "changed; say --mode scratch to train with this setting, or leave the setting out"
        )


def _complete(
    parameters: Mapping[str, Parameter], given: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    values = {name: given.get(name, parameter.default) for name, parameter in parameters.items()}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        raise InputError(f"the pipeline's parameter {missing[0]!r} has no value and no default")
    return {name: value for name, value in values.items() if value is not None}


def _is_published(registry: Registry, result: StepResult) -> bool:
    """Whether the bundle that a finished step published is still in the registry."""
    version = result.outputs.get("version")
    return version is None or registry.has(str(version))
