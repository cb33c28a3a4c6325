"""From the pipeline's parameters to the outcome's notes and the notification."""

from __future__ import annotations

import sys
from pathlib import Path

from components.contracts import incumbent as incumbents
from components.contracts.errors import LookalikeError
from components.contracts.files import write_atomically
from components.outcome.gates import (
    GatesRecord,
    refusal_note,
    settle,
    to_note,
    undecided_note,
)
from components.outcome.notification import read_ending
from components.outcome.webhook import find_webhook
from components.registry import events, run_log
from components.registry.registry import Registry


def gates(
    registry: str,
    version: str,
    incumbent: str,
    offline: str,
    human: str,
    run: str,
    note: str,
) -> str:
    """Says which branch the run takes, and keeps it in the run's record.

    Returns:
        `passed`, `refused` or `undecided`.
    """
    opened = Registry.open(registry)
    record, verdicts = settle(
        opened,
        version=version,
        incumbent=incumbents.version_of(incumbent),
        offline=offline,
        human=human,
    )
    run_log.record(opened.store, run, "gates", record.to_json())
    write_atomically(Path(note), to_note(record, verdicts))
    return record.outcome


def hold_back(registry: str, channel: str, run: str, note: str, *, undecided: bool) -> None:
    """Writes why the candidate is not promoted, and what to do."""
    opened = Registry.open(registry)
    said = run_log.read(opened.store, run, "gates")
    if said is None:
        raise LookalikeError(f"{registry}: runs/{run}/gates.json: the gates left no record")
    record = GatesRecord(**{**said, "reasons": tuple(said["reasons"])})
    live = opened.channel(channel).live
    write = undecided_note if undecided else refusal_note
    write_atomically(Path(note), write(record, registry=registry, channel=channel, live=live))


def notify(
    registry: str,
    channel: str,
    run: str,
    pipeline: str,
    webhook_secret: str,
    state: str,
    error: str,
    note: str,
) -> None:
    """Sends the run's one notification and writes it down; a dead webhook fails nothing."""
    ending = read_ending(
        Registry.open(registry),
        run=run,
        pipeline=pipeline,
        channel=channel,
        state=state,
        error=error,
    )
    event = ending.to_event()
    print(events.to_line(event), flush=True)
    try:
        hook = find_webhook(webhook_secret)
        problem = "" if hook is None else events.post(hook, event, about="the run is not changed")
        told = problem or ("told" if hook else "none is set")
    except Exception as trouble:
        # Only what we wrote ourselves is shown: another error's text may hold the address.
        ours = str(trouble) if isinstance(trouble, LookalikeError) else type(trouble).__name__
        problem = told = f"webhook: {ours}"
    if problem:
        print(f"warning: {problem}", file=sys.stderr)
    write_atomically(Path(note), ending.to_markdown(told=told))
