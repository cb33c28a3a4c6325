"""`lookalike index`: what is live, and how to change it. Loads no TensorFlow, no numpy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from components.contracts import history
from components.contracts import verdict as verdicts
from components.contracts.channel import ChannelState, Move, check_text
from components.contracts.errors import LookalikeError
from components.contracts.registry import Registry
from components.contracts.verdict_log import Stored
from components.promote.promote import promote_candidate
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    known_channel,
    open_registry,
    with_channel,
    with_dry_run,
    with_reason,
    with_registry,
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: lookalike index status --registry .lookalike/demo/registry",
)
def index() -> None:
    """See what is live, promote, roll back."""


@index.command(epilog="Example: lookalike index status --registry gs://shop-lookalike/registry")
@with_registry
@click.option("--channel", metavar="NAME", envvar="LOOKALIKE_CHANNEL", help="Only this channel.")
def status(registry: str, channel: str | None, as_json: bool) -> None:
    """Show what is live on each channel, since when, by whom and why."""
    opened = open_registry(registry)
    names = [known_channel(opened, channel).name] if channel else opened.channels()
    reports = [_report(opened, name) for name in names]
    if as_json:
        answer({"registry": registry, "channels": reports})
    elif not reports:
        count = len(opened.versions())
        click.echo(
            f"No channel yet; {count} bundle(s) published. "
            "`lookalike index promote VERSION --channel NAME --reason ...` makes one."
        )
    else:
        click.echo("\n\n".join(_status_text(report) for report in reports))
    if any(report["problems"] for report in reports):
        raise SystemExit(1)


def _report(registry: Registry, name: str) -> dict[str, Any]:
    """Returns everything that status says of a channel; what cannot be read becomes a problem."""
    report: dict[str, Any] = {"channel": name, "live": "", "problems": []}
    try:
        state = registry.channel(name)
    except LookalikeError as error:
        report["problems"].append(str(error))
        return report
    target = ""
    passed: tuple[str, ...] = ()
    if state.live:
        try:
            target, passed = registry.rollback_target(state)
        except LookalikeError as error:
            report["problems"].append(str(error))
    report |= {
        "live": state.live,
        "moves": state.moves,
        "frozen": None if state.frozen is None else vars(state.frozen),
        "quarantine": {version: vars(note) for version, note in state.quarantine.items()},
        "rollback_to": target,
        "rollback_passes_over": list(passed),
        "since": None,
        "bundle": None,
        "verdicts": [],
    }
    if state.live:
        try:
            move = _live_move(registry, state)
            report["since"] = None if move is None else move.to_json()
            manifest, _ = registry.manifest(state.live)
            report["bundle"] = {
                "created": manifest.created,
                "items": manifest.items,
                "mode": manifest.mode,
            }
            report["verdicts"] = [
                _verdict_line(stored) for stored in registry.stored_verdicts(state.live)
            ]
        except LookalikeError as error:
            report["problems"].append(str(error))
    return report


def _live_move(registry: Registry, state: ChannelState) -> Move | None:
    for move in history.entries(registry.store, state):
        if move.to == state.live and move.previous != move.to:
            return move
    return None


def _verdict_line(stored: Stored) -> dict[str, Any]:
    verdict = stored.verdict
    return {
        "key": stored.key,
        "gate": verdict.gate,
        "status": verdict.status,
        "summary": verdict.summary(),
        "created": verdict.created,
        "writer": verdict.writer,
        "simulated": verdict.simulated,
        "signature": stored.signature,
    }


def _status_text(report: dict[str, Any]) -> str:
    live = report["live"]
    head = f"{report['channel']}: " + (
        text.styled(live, "live") if live else text.styled("nothing is live", "alarm")
    )
    pairs: list[tuple[str, str]] = []
    if since := report.get("since"):
        verb = "rolled back" if since["kind"] == "rollback" else "promoted"
        forced = " BY FORCE" if since["forced"] else ""
        pairs += [
            ("since", text.moment(since["when"])),
            ("by", f"{since['who']}, {verb}{forced}"),
            ("why", since["why"]),
            ("before", since["from"] or "nothing"),
        ]
    if bundle := report.get("bundle"):
        pairs.append(
            ("built", f"{text.moment(bundle['created'])}, {bundle['items']:,} items, "
             f"{bundle['mode']}")
        )  # fmt: skip
    if live:
        pairs.append(("verdicts", _verdicts_text(report.get("verdicts", []))))
    if "frozen" in report:
        frozen = report["frozen"]
        pairs.append(
            (
                "frozen",
                f"YES, by {frozen['who']} {text.moment(frozen['when'])}: {frozen['why']}"
                if frozen
                else "no",
            )
        )
    if live and "rollback_to" in report:
        target = report["rollback_to"]
        pairs.append(("rollback", f"would bring back {target}" if target else "nothing to go to"))
        pairs += [("", f"passing over: {reason}") for reason in report["rollback_passes_over"]]
    if quarantine := report.get("quarantine"):
        listed = [f"{version}: {note['why']} ({note['who']})" for version, note in
                  list(quarantine.items())[-3:]]  # fmt: skip
        more = len(quarantine) - len(listed)
        pairs.append(("quarantine", "\n".join(listed) + (f"\nand {more} more" if more else "")))
    lines = [head, text.fields(pairs)] if pairs else [head]
    lines += [text.styled(f"  PROBLEM: {problem}", "alarm") for problem in report["problems"]]
    return "\n".join(lines)


def _verdicts_text(lines: list[dict[str, Any]]) -> str:
    if not lines:
        return "none on record"
    # The newest of each gate: what went before it no longer counts.
    newest = {line["gate"]: line for line in lines}
    return "\n".join(
        line["summary"] + (" [simulated raters]" if line["simulated"] else "")
        for line in newest.values()
    )


@index.command(
    "list", epilog="Example: lookalike index list --registry .lookalike/demo/registry --limit 5"
)
@with_registry
@click.option("--channel", metavar="NAME", envvar="LOOKALIKE_CHANNEL", help="Mark this channel.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Newest N.")
@click.option("--all", "everything", is_flag=True, help="Every version.")
def list_(registry: str, channel: str | None, limit: int, everything: bool, as_json: bool) -> None:
    """List the published versions, the newest first."""
    opened = open_registry(registry)
    names = [known_channel(opened, channel).name] if channel else opened.channels()
    states = [opened.channel(name) for name in names]
    published = opened.published()[::-1]
    rows = [
        _list_row(opened, version, updated, states)
        for version, updated in (published if everything else published[:limit])
    ]
    if as_json:
        answer({"registry": registry, "total": len(published), "versions": rows})
        return
    if not rows:
        click.echo("No bundle has been published yet; `lookalike run` builds one.")
        return
    click.echo(
        text.table(
            ("VERSION", "PUBLISHED", "ITEMS", "MODE", "STATE"),
            [
                (
                    row["version"],
                    text.ago(datetime.now(UTC).timestamp() - row["published"]),
                    f"{row['items']:,}",
                    row["mode"],
                    "; ".join([*row["states"], *row["verdicts"]]),
                )
                for row in rows
            ],
            right=("ITEMS",),
        )
    )
    if len(rows) < len(published):
        click.echo(text.styled(f"{len(published) - len(rows)} older: --all shows them", "quiet"))


def _list_row(
    registry: Registry, version: str, updated: float, states: list[ChannelState]
) -> dict[str, Any]:
    row: dict[str, Any] = {"version": version, "published": updated, "items": 0, "mode": "?"}
    row["states"] = [f"LIVE on {state.name}" for state in states if state.live == version] + [
        f"quarantined on {state.name}" for state in states if version in state.quarantine
    ]
    try:
        manifest, _ = registry.manifest(version)
    except LookalikeError:
        row["states"].append("UNREADABLE manifest")
    else:
        row |= {"items": manifest.items, "mode": manifest.mode, "created": manifest.created}
    newest = {stored.verdict.gate: stored.verdict for stored in registry.stored_verdicts(version)}
    row["verdicts"] = [f"{gate} {verdict.status}" for gate, verdict in sorted(newest.items())]
    return row


@index.command(
    epilog="Example: lookalike index show 20261122-1a2b3c --registry .lookalike/demo/registry"
)
@click.argument("version")
@with_registry
@click.option("--channel", metavar="NAME", hidden=True, help="Not needed.")
def show(version: str, registry: str, channel: str | None, as_json: bool) -> None:
    """Show a version: its lineage, its figures, and its verdicts with reasons."""
    del channel
    opened = open_registry(registry)
    manifest, digest = opened.manifest(version)
    stored = opened.stored_verdicts(version)
    states = [opened.channel(name) for name in opened.channels()]
    live = [state.name for state in states if state.live == version]
    quarantined = {
        state.name: vars(state.quarantine[version])
        for state in states
        if version in state.quarantine
    }
    if as_json:
        answer(
            {
                "manifest": manifest.to_json(),
                "manifest_digest": digest,
                "live_on": live,
                "quarantined_on": quarantined,
                "verdicts": [
                    {**_verdict_line(entry), "checks": entry.verdict.to_json()["checks"]}
                    for entry in stored
                ],
            }
        )
        return
    size = sum(entry.size for entry in manifest.files.values())
    pairs = [
        ("built", text.moment(manifest.created)),
        ("mode", manifest.mode),
        ("live on", ", ".join(live) or "no channel"),
        ("items", f"{manifest.items:,} of {manifest.embedding_dim} dimensions"),
        ("files", f"{len(manifest.files)}, {size / 1e6:,.1f} MB"),
        ("manifest", digest),
        ("encoder", manifest.encoder_digest),
        ("index", _mapping(manifest.index)),
        ("lineage", _mapping(manifest.lineage)),
        ("metrics", _mapping(manifest.metrics)),
    ]
    pairs += [
        ("QUARANTINED", f"on {name} by {note['who']}: {note['why']}")
        for name, note in quarantined.items()
    ]
    click.echo(text.styled(version, "live" if live else "") + "\n" + text.fields(pairs))
    if not stored:
        click.echo("\nNo gate has judged this version.")
    for entry in stored:
        verdict = entry.verdict
        simulated = " [simulated raters]" if verdict.simulated else ""
        first, *rest = verdicts.to_text(verdict).splitlines()
        written = f"written {text.moment(verdict.created)} by {verdict.writer or 'nobody known'}"
        click.echo(f"\n{text.styled(first, verdict.status)}{simulated}, {written}")
        for line in rest:
            click.echo(line)


def _mapping(values: dict[str, Any]) -> str:
    return "\n".join(
        f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}"
        for key, value in values.items()
    )


@index.command(
    epilog="Example: lookalike index promote 20261122-1a2b3c --registry gs://shop/registry "
    '--channel prod --reason "new autumn range"'
)
@click.argument("version")
@with_registry
@with_channel
@with_reason
@with_dry_run
@click.option(
    "--force",
    is_flag=True,
    help="Override verdicts, policy and freeze; recorded. Never overrides integrity.",
)
def promote(
    version: str,
    registry: str,
    channel: str,
    reason: str,
    who: str,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Make a version live, if its verdicts, its bytes and the channel's policy allow it."""
    check_text("--reason", reason)
    open_registry(registry)
    outcome = promote_candidate(
        registry=registry,
        channel=channel,
        version=version,
        expected_incumbent=None,
        who=who,
        why=reason,
        force=force,
        dry_run=dry_run,
    )
    if as_json:
        answer({"channel": channel, **outcome.to_json()})
    else:
        would = "would have " if dry_run else ""
        if outcome.outcome == "promoted":
            what = f"{channel}: {would or 'has been '}moved"
            before = outcome.previous or "nothing"
            click.echo(f"{what} from {before} to {text.styled(version, 'live')}")
        elif outcome.outcome == "unchanged":
            click.echo(f"{channel}: {version} is live already; nothing was changed")
        else:
            click.echo(
                text.styled(f"{channel}: refused; ", "alarm")
                + f"{outcome.previous or 'nothing'} stays live",
            )
        click.echo("".join(f"  - {reason}\n" for reason in outcome.reasons), nl=False)
    if outcome.outcome == "refused":
        raise SystemExit(1)


@index.command(
    epilog="Example: lookalike index rollback --registry gs://shop/registry --channel prod "
    '--reason "sofas answer with lamps"'
)
@with_registry
@with_channel
@with_reason
@with_dry_run
@click.option("--to", metavar="VERSION", default="", help="A version that was live before.")
def rollback(
    registry: str,
    channel: str,
    reason: str,
    who: str,
    dry_run: bool,
    to: str,
    as_json: bool,
) -> None:
    """Bring back what was live before, and quarantine what is live now.

    Works on a frozen channel, too, and asks no gate.
    """
    check_text("--reason", reason)
    opened = open_registry(registry)
    state = known_channel(opened, channel)
    target = opened.plan_rollback(state, to=to)
    passed = () if to else opened.rollback_target(state)[1]
    move = None
    if not dry_run:
        move = opened.move(
            channel, to=target, expected_from=state.live, kind="rollback", who=who, why=reason
        )
    if as_json:
        answer(
            {
                "channel": channel,
                "outcome": "rolled_back",
                "from": state.live,
                "to": target,
                "passed_over": list(passed),
                "dry_run": dry_run,
                "move": None if move is None else move.to_json(),
            }
        )
        return
    verb = "would be" if dry_run else "is"
    click.echo(
        f"{channel}: {text.styled(target, 'live')} {verb} live again; {state.live} {verb} "
        f"quarantined (`lookalike index release {state.live}` ends that)"
    )
    click.echo("".join(f"  - passed over: {reason}\n" for reason in passed), nl=False)
