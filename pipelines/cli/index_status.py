"""`lookalike index status`: what is live on each channel, and what a rollback would bring back."""

from __future__ import annotations

from typing import Any

import click

from components.registry.channel_report import channel_report
from components.registry.opening import open_channel, open_registry
from components.registry.registry import Registry
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    complete_channels,
    with_registry,
)


@click.command(epilog="Example: lookalike index status --registry gs://shop-lookalike/registry")
@with_registry
@click.option(
    "--channel",
    metavar="NAME",
    envvar="LOOKALIKE_CHANNEL",
    help="Only this channel.",
    shell_complete=complete_channels,
)
def status(registry: str, channel: str | None, as_json: bool) -> None:
    """Show what is live on each channel, since when, by whom and why."""
    opened = Registry.open(registry)
    if channel:
        names = [open_channel(registry, channel)[1].name]
    elif not (names := opened.channels()):
        open_registry(registry)
    reports = [channel_report(opened, name) for name in names]
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
