"""Options for Apache Beam: how they are written, checked, and turned into a pipeline.

Beam itself reports a misspelt option as a line in the log and goes on without it, and ends the
process where a value is wrong. A job of hours must not find out that way.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.util
import io
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from components.contracts.beam_workers import lost_workers_are_told
from components.contracts.errors import InputError, LookalikeError

# Runners whose own options (Flink's Java ones, say) Beam for Python cannot know.
_OPEN_RUNNERS = ("flinkrunner", "portablerunner", "sparkrunner", "prismrunner")
_DATAFLOW = ("--project", "--region", "--temp_location")
_RUNNER = "--runner"
# How the runners say that a worker, or the whole job, is gone; anything else is a mistake of ours.
_LOST = ("Channel closed prematurely", "failed in state", "SDK disconnected", "SDK worker")


def split_beam_options(text: str, field: str) -> tuple[str, ...]:
    """Splits options as a shell would.

    Args:
        text: Options separated by spaces; quotes as in a shell.
        field: Whose value it is, for the message.

    Raises:
        InputError: A quote has no end, or an option is not `--NAME` or `--NAME=VALUE`.
    """
    try:
        options = tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{field}: expected options as in a shell, {error} in {text!r}") from None
    check_form(options, field)
    return options


def join_beam_options(options: Sequence[str], field: str) -> str:
    """Joins options into the one text that the pipeline's parameter takes.

    Raises:
        InputError: As `split_beam_options`.
    """
    check_form(options, field)
    return shlex.join(options)


def check_form(options: Sequence[str], field: str) -> None:
    """Refuses what is no option, and one given twice with two values.

    Raises:
        InputError: See above.
    """
    seen: dict[str, str] = {}
    for option in options:
        name, _, value = option.partition("=")
        if not name.startswith("--") or len(name) < 3 or name != name.strip():
            raise InputError(
                f"{field}: expected --NAME or --NAME=VALUE, such as --runner=FlinkRunner, received "
                f"{option!r}"
            )
        if name == _RUNNER and not value:
            raise InputError(f"{field}: expected --runner=NAME, received {option!r}")
        # Some may be repeated (--experiments, --labels); two runners mean a mistake.
        if name == _RUNNER and seen.setdefault(name, value) != value:
            raise InputError(f"{field}: expected one runner, received {seen[name]} and {value}")


def check_beam_options(options: Sequence[str], field: str) -> None:
    """Checks options by Beam's own rules, where Beam is installed.

    Unknown options are refused for the runners whose options Beam for Python knows; options of
    the others are checked by the runner's job server.

    Raises:
        InputError: An unknown runner or option, a value that its option cannot take, or options
            that do not go together; all problems in one message.
    """
    check_form(options, field)
    if options and importlib.util.find_spec("apache_beam"):
        _parsed(options, field)


def beam_pipeline(options: Sequence[str], field: str, local: Sequence[str] = ()) -> Any:
    """Returns an empty Beam pipeline on the runner that the options name.

    Args:
        options: What the user asks for.
        field: Whose value the options are, for messages.
        local: Options for the local runner alone, which runs where none is named.

    Raises:
        InputError: As `check_beam_options`.
    """
    import apache_beam as beam  # noqa: PLC0415 - seconds
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner  # noqa: PLC0415

    if _runner(options):
        return beam.Pipeline(options=_parsed(options, field))
    # Named outright: Beam's DirectRunner would first try to download another runner's binary.
    return beam.Pipeline(runner=FnApiRunner(), options=_parsed((*local, *options), field))


@contextlib.contextmanager
def beam_job(pipeline: Any, step: str) -> Iterator[Any]:
    """Runs what the body adds to a pipeline, to its end.

    Args:
        pipeline: An empty pipeline, of `beam_pipeline`.
        step: Who runs it, for messages.

    Raises:
        LookalikeError: A worker was killed or the runner gave the job up; or `--dry_run` was asked
            for, and nothing was run.
    """
    from apache_beam.options.pipeline_options import TestOptions  # noqa: PLC0415

    try:
        with lost_workers_are_told(), pipeline:
            yield pipeline
    except RuntimeError as error:
        if isinstance(error, LookalikeError) or not any(one in str(error) for one in _LOST):
            raise
        raise LookalikeError(
            f"{step}: Apache Beam gave the job up ({str(error).strip().splitlines()[-1][:500]}): a "
            "worker was lost, perhaps killed for its memory. Nothing of this output is used: run "
            "the step again"
        ) from error
    if pipeline.options.view_as(TestOptions).dry_run:
        raise LookalikeError(
            f"{step}: --dry_run: the job's graph was built and checked for "
            f"{type(pipeline.runner).__name__}, nothing was run; leave it out to run the job"
        )


def _runner(options: Sequence[str]) -> str:
    values = [option.partition("=")[2] for option in options if option.startswith(f"{_RUNNER}=")]
    return values[-1] if values else ""


def _parsed(options: Sequence[str], field: str) -> Any:
    from apache_beam.options.pipeline_options import (  # noqa: PLC0415
        PipelineOptions,
        StandardOptions,
    )
    from apache_beam.options.pipeline_options_validator import (  # noqa: PLC0415
        PipelineOptionsValidator,
    )
    from apache_beam.runners.runner import create_runner  # noqa: PLC0415

    name = _runner(options)
    if name:
        known = [path.rpartition(".")[2] for path in StandardOptions.ALL_KNOWN_RUNNERS]
        # Beam would import whatever dotted name it is given.
        if not {name.lower(), f"{name.lower()}runner"} & {one.lower() for one in known}:
            raise InputError(
                f"{field}: expected a runner that Beam knows, received {name!r}"
                f"{_nearest(name, known)}"
            )
        runner = create_runner(name)
    problems = [] if name.lower().startswith(_OPEN_RUNNERS) else _unknown(options)
    if name.lower().startswith("dataflow"):
        problems += _missing_for_dataflow(options)
    if problems:
        raise InputError(f"{field}: {'; '.join(problems)}")
    parsed = PipelineOptions(list(options))
    said = io.StringIO()
    try:
        # Where a value is wrong Beam's parser prints and ends the process.
        with contextlib.redirect_stderr(said):
            parsed.get_all_options(retain_unknown_options=True)
            if name:
                # As a dry run the validator asks nobody on the network.
                dry = PipelineOptions([*options, "--dry_run=true"])
                problems = PipelineOptionsValidator(dry, runner).validate()
    except SystemExit:
        problem = said.getvalue().strip().rpartition("error: ")[2]
        raise InputError(f"{field}: {problem}") from None
    if problems:
        raise InputError(f"{field}: {'; '.join(dict.fromkeys(problems))}")
    if parsed.view_as(StandardOptions).streaming:
        raise InputError(f"{field}: expected a batch job, received --streaming; a step has an end")
    return parsed


def _missing_for_dataflow(options: Sequence[str]) -> list[str]:
    """Returns what Dataflow needs and Beam would make up: a project, even a bucket."""
    given = dict(option.partition("=")[::2] for option in options)
    problems = [f"DataflowRunner needs {name}=..." for name in _DATAFLOW if not given.get(name)]
    place = given.get("--temp_location")
    if place and not place.startswith("gs://"):
        problems.append(f"expected --temp_location=gs://BUCKET/PREFIX, received {place!r}")
    return problems


def _unknown(options: Sequence[str]) -> list[str]:
    """Returns a problem for each option that Beam would pass over."""
    from apache_beam.options import pipeline_options  # noqa: PLC0415

    parser = pipeline_options._BeamArgumentParser(
        add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for kind in {str(one): one for one in _kinds(pipeline_options.PipelineOptions)}.values():
        with contextlib.suppress(argparse.ArgumentError):
            kind._add_argparse_args(parser)
    known = list(parser._option_string_actions)
    names = [option.partition("=")[0] for option in options]
    return [f"unknown option {name}{_nearest(name, known)}" for name in names if name not in known]


def _kinds(base: Any) -> list[Any]:
    return [
        one
        for kind in base.__subclasses__()
        if kind.__module__.startswith("apache_beam.options.")
        for one in (kind, *_kinds(kind))
    ]


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else ""
