"""`lookalike index gc|export|import|policy`: what nobody does at 3 a.m."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from components.contracts.errors import InputError, LookalikeError
from components.registry import sweep
from components.registry.channel import check_channel
from components.registry.opening import open_registry
from components.registry.policy import Policy
from components.registry.registry import Registry
from pipelines.cli import index_text as text
from pipelines.cli.index_options import (
    answer,
    complete_versions,
    with_channel,
    with_dry_run,
    with_registry,
)


@click.command(
    epilog="Example: lookalike index gc --registry gs://shop/registry --keep 10 --older-than 30 "
    "--yes"
)
@with_registry
@click.option(
    "--keep", default=10, show_default=True, type=click.IntRange(0), help="Newest N stay anyway."
)
@click.option(
    "--older-than",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Younger ones stay anyway.",
)
@click.option("--yes", is_flag=True, help="Really remove; without it, only say what would go.")
@click.option("--dry-run", is_flag=True, help="Only say what would go; the default.")
def gc(
    registry: str, keep: int, older_than: float, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Remove versions that nothing refers to, and the remains of dead uploads.

    Never removes what is live, in the last 50 moves of a channel, or quarantined. Removes nothing
    without --yes.
    """
    opened = open_registry(registry)
    plan = sweep.plan(opened.store, keep=keep, older_than_s=older_than * 86400)
    removing = yes and not dry_run
    doomed = list(plan.doomed)
    if removing:
        doomed = sweep.sweep(opened.store, doomed, opened.backoff)
    if as_json:
        answer(
            {
                "dry_run": not removing,
                "removed": [asdict(one) for one in doomed],
                "kept": plan.kept,
            }
        )
        return
    verb = "Removed" if removing else "Would remove"
    size = sum(one.size for one in doomed)
    click.echo(f"{verb} {len(doomed)} version(s), {size / 1e6:,.1f} MB; {len(plan.kept)} stay.")
    if doomed:
        rows = [
            (one.version, f"{one.size / 1e6:,.1f}", f"{text.ago(one.age_s)}, {one.kind}")
            for one in doomed
        ]
        click.echo(text.table(("VERSION", "MB", "PUBLISHED"), rows, right=("MB",)))
    if plan.kept and not removing:
        click.echo("\n" + text.table(("STAYS", "WHY"), sorted(plan.kept.items())))
    if doomed and not removing:
        click.echo("\nNothing was removed; --yes removes.")


@click.command(
    epilog="Example: lookalike index export 20261122-1a2b3c --registry gs://shop/registry "
    "--to ./copy --verdicts"
)
@click.argument("version", shell_complete=complete_versions)
@with_registry
@with_dry_run
@click.option("--to", "other", required=True, metavar="URI", help="The registry to copy it to.")
@click.option("--verdicts", is_flag=True, help="Copy the verdicts on it, too.")
def export(
    version: str, registry: str, other: str, verdicts: bool, dry_run: bool, as_json: bool
) -> None:
    """Copy a version from this registry to another one, every file checked."""
    source = open_registry(registry)
    _copy(
        source, Registry.open(other), version, verdicts=verdicts, dry_run=dry_run, as_json=as_json
    )


@click.command(
    "import",
    epilog="Example: lookalike index import 20261122-1a2b3c --registry ./mine "
    "--from gs://shop/registry --verdicts",
)
@click.argument("version")
@with_registry
@with_dry_run
@click.option("--from", "other", required=True, metavar="URI", help="The registry that has it.")
@click.option("--verdicts", is_flag=True, help="Copy the verdicts on it, too.")
def import_(
    version: str, registry: str, other: str, verdicts: bool, dry_run: bool, as_json: bool
) -> None:
    """Copy a version from another registry to this one, every file checked.

    Makes nothing live. Verdicts come only when asked for: whoever imports them vouches for the
    other registry's judgement.
    """
    target = Registry.open(registry)
    source = open_registry(other)
    _copy(source, target, version, verdicts=verdicts, dry_run=dry_run, as_json=as_json)


def _copy(
    source: Registry,
    target: Registry,
    version: str,
    *,
    verdicts: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    manifest, digest = source.manifest(version)
    if problems := source.verify(version):
        raise LookalikeError(f"version {version} is not whole: {'; '.join(problems[:3])}")
    if target.has(version) and target.manifest(version)[1] != digest:
        raise LookalikeError(f"{target.uri}: has another bundle under the version {version}")
    known = target.has(version)
    # Signatures travel with what they sign, byte for byte.
    extra = list(source.store.list(f"verdicts/{version}/")) if verdicts else []
    if not dry_run:
        if not known:
            with tempfile.TemporaryDirectory(prefix="lookalike-copy-") as scratch:
                target.publish_bundle(source.download_bundle(version, Path(scratch) / version))
        for info in extra:
            target.keep_verdict(info.key, source.store.read(info.key)[0])
    size = sum(entry.size for entry in manifest.files.values())
    if as_json:
        answer(
            {
                "version": version,
                "from": source.uri,
                "to": target.uri,
                "copied": not (known or dry_run),
                "bytes": size,
                "verdicts": len(extra),
                "dry_run": dry_run,
            }
        )
        return
    verb = "would be copied" if dry_run else "copied"
    what = "was there already" if known else f"{verb}, {size / 1e6:,.1f} MB"
    also = f"; {len(extra)} verdict file(s) {verb}" if extra else ""
    click.echo(f"{version}: {what}{also} ({source.uri} -> {target.uri})")


@click.command(
    epilog="Example: lookalike index policy --registry gs://shop/registry --channel prod "
    "--set policy.json"
)
@with_registry
@with_channel
@click.option(
    "--set",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A JSON file to replace the policy with; fields left out take their defaults.",
)
@with_dry_run
def policy(registry: str, channel: str, file: Path | None, dry_run: bool, as_json: bool) -> None:
    """Show what a channel demands of a version, or replace it."""
    check_channel(channel)
    opened = Registry.open(registry)
    if file is None:
        shown = opened.policy(channel)
    else:
        try:
            value = json.loads(file.read_bytes())
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise InputError(f"{file}: expected JSON, received something else ({error})") from None
        shown = Policy.from_json(value, source=str(file))
        if not dry_run:
            opened.set_policy(channel, shown, replace=True)
    if as_json:
        answer({"channel": channel, "dry_run": dry_run, "policy": asdict(shown)})
        return
    click.echo(f"{channel}" + (" (not written: --dry-run)" if file and dry_run else ""))
    click.echo(text.fields([(name, _words(value)) for name, value in asdict(shown).items()]))


def _words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{gate}: {', '.join(names)}" for gate, names in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "anybody" if value is None else str(value)
