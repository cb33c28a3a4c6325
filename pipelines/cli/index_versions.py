"""`lookalike index list|show|verify`: the published versions."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from components.contracts import verdict as verdicts
from components.contracts.errors import LookalikeError
from components.registry.channel_report import verdict_line, version_row
from components.registry.opening import known_channel, open_registry
from components.registry.registry import Registry
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    complete_channels,
    complete_versions,
    with_registry,
)


@click.command(
    "list", epilog="Example: lookalike index list --registry .lookalike/demo/registry --limit 5"
)
@with_registry
@click.option(
    "--channel",
    metavar="NAME",
    envvar="LOOKALIKE_CHANNEL",
    help="Mark this channel.",
    shell_complete=complete_channels,
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Newest N.")
@click.option("--all", "everything", is_flag=True, help="Every version.")
def list_(registry: str, channel: str | None, limit: int, everything: bool, as_json: bool) -> None:
    """List the published versions, the newest first."""
    opened = open_registry(registry)
    names = [known_channel(opened, channel).name] if channel else opened.channels()
    states = [opened.channel(name) for name in names]
    published = opened.published()[::-1]
    rows = [
        version_row(opened, version, updated, states)
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


@click.command(
    epilog="Example: lookalike index show 20261122-1a2b3c --registry .lookalike/demo/registry"
)
@click.argument("version", shell_complete=complete_versions)
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
                    {**verdict_line(entry), "checks": entry.verdict.to_json()["checks"]}
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


@click.command(
    epilog="Example: lookalike index verify 20261122-1a2b3c --registry gs://shop/registry --golden"
)
@click.argument("version", required=False, shell_complete=complete_versions)
@with_registry
@click.option(
    "--golden",
    is_flag=True,
    help="Also start the real server on the bundle and ask the golden queries again.",
)
def verify(version: str | None, registry: str, golden: bool, as_json: bool) -> None:
    """Compare every file of a version, or of all versions, with its SHA-256.

    Ends with 1 when anything is wrong.
    """
    opened = open_registry(registry)
    if version is not None:
        opened.manifest(version)
    versions = [version] if version is not None else opened.versions()
    found: dict[str, list[str]] = {}
    for one in versions:
        try:
            problems = opened.verify(one)
        except LookalikeError as error:
            problems = [str(error)]
        if golden and not problems:
            problems = _golden_problems(opened, one)
        found[one] = problems
        if not as_json:
            mark = text.styled("whole", "pass") if not problems else text.styled("DAMAGED", "fail")
            click.echo(f"{one}: {mark}" + "".join(f"\n  - {problem}" for problem in problems))
    if as_json:
        answer({"registry": registry, "golden": golden, "problems": found})
    if any(found.values()):
        raise SystemExit(1)


def _golden_problems(registry: Registry, version: str) -> list[str]:
    """Starts the real server on the bundle; returns what it answers otherwise than when built."""
    # Loaded here: comparing vectors takes numpy, which no other on-call command needs.
    from components.evaluate.config import EvaluateConfig  # noqa: PLC0415
    from components.evaluate.server import validate  # noqa: PLC0415
    from components.evaluate.server_process import Launch  # noqa: PLC0415

    # How fast and how large this machine is, is not what was asked.
    config = EvaluateConfig(max_search_p95_ms=0.0, max_server_memory_mb=0.0)
    with tempfile.TemporaryDirectory(prefix="lookalike-verify-") as scratch:
        bundle = registry.download_bundle(version, Path(scratch) / version)
        checks, _ = validate(bundle, Launch(registry.uri, version), config)
    return [check.reason for check in checks if check.status != "pass"]
