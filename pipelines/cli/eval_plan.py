"""`lookalike eval plan` and `publish`: what raters will be asked, and asking it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from components.contracts import incumbent as incumbents
from components.contracts.errors import InputError
from components.contracts.files import read_json
from components.human_eval.ask import Material, draw
from components.human_eval.config import GateConfig
from components.human_eval.draft import draft_json, read_draft
from components.human_eval.pairs import Binding
from components.human_eval.publish import publish as publish_draft
from components.human_eval.step import gate_config, was_retrained
from components.registry.channel import check_channel
from components.registry.registry import Registry
from pipelines.cli import eval_text
from pipelines.cli.index_options import (
    answer,
    complete_versions,
    with_channel,
    with_registry,
    with_who,
)

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    epilog="Example: lookalike eval plan --registry R --channel prod --version 20261122-185147 "
    "--workspace .lookalike --output campaign"
)
@with_registry
@with_channel
@click.option("--version", required=True, help="The candidate.", shell_complete=complete_versions)
@click.option(
    "--incumbent",
    default=incumbents.LIVE,
    show_default=True,
    help="Version to compare with: live for what the channel points to, none for nothing.",
)
@click.option("--workspace", type=_FOLDER, help="Takes both artifacts from a run's workspace.")
@click.option("--evaluation", type=_FOLDER, help="The evaluate step's artifact.")
@click.option("--checked", type=_FOLDER, help="The catalog step's artifact.")
@click.option(
    "--policy", type=click.Choice(["production", "demo"]), default="production", show_default=True
)
@click.option("--tau", type=float, default=GateConfig.tau, show_default=True,
              help="Share of similar results to exceed, 0 to 1.")  # fmt: skip
@click.option("--floor", type=float, default=GateConfig.floor, show_default=True,
              help="The same for every guarded department.")  # fmt: skip
@click.option("--seed", type=int, default=GateConfig.seed, show_default=True,
              help="Of the recorded order.")  # fmt: skip
@click.option("--raters", type=click.Choice(["web", "simulated"]), default="web",
              show_default=True, help="Who may rate.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), required=True,
              help="Folder that gets the campaign.")  # fmt: skip
def plan(
    registry: str,
    channel: str,
    version: str,
    incumbent: str,
    workspace: Path | None,
    evaluation: Path | None,
    checked: Path | None,
    policy: str,
    tau: float,
    floor: float,
    seed: int,
    raters: str,
    output: Path,
    as_json: bool,
) -> None:
    """Draw queries, pairs and golds for a candidate into a folder; asks nobody yet.

    Says what it will cost, and how many ratings earlier judgements save.
    """
    bundles = Registry.open(registry)
    material = _material(version, workspace, evaluation, checked)
    _, digest = bundles.manifest(version)
    before = (
        bundles.channel(check_channel(channel)).live
        if incumbent == incumbents.LIVE
        else incumbents.version_of(incumbent)
    )
    binding = Binding(version, digest, before, bundles.manifest(before)[1] if before else "")
    draft = draw(
        bundles.store, channel, binding, material,
        gate_config(policy, tau=tau, floor=floor, seed=seed),
        folder=output, raters=raters, now=datetime.now(UTC),
        retrained=was_retrained(bundles, binding),
    )  # fmt: skip
    value = {**draft_json(draft), "folder": str(output)}
    if as_json:
        answer(value)
        return
    click.echo(f"Drawn into {output}; nobody is asked yet.")
    click.echo(eval_text.draft_text(value))
    click.echo(
        f"\nTo ask raters: lookalike eval publish {output} --registry {registry} "
        f"--channel {channel}"
    )


@click.command(
    epilog="Example: lookalike eval publish campaign --registry R --channel prod --supersede"
)
@with_registry
@with_channel
@with_who
@click.argument("folder", type=_FOLDER)
@click.option(
    "--supersede", is_flag=True,
    help="Close the campaign of another candidate that raters are at now.",
)  # fmt: skip
def publish(
    registry: str, channel: str, who: str, folder: Path, supersede: bool, as_json: bool
) -> None:
    """Publish a planned campaign: from now on raters are asked."""
    bundles = Registry.open(registry)
    check_channel(channel)
    draft = read_draft(folder)
    found = bundles.manifest(draft.plan.version)[1]
    if found != draft.plan.manifest_digest:
        raise InputError(
            f"{folder}: the plan is about another bundle {draft.plan.version} (its manifest is "
            f"{draft.plan.manifest_digest[:12]}..., the registry's is {found[:12]}...); plan again"
        )
    published = publish_draft(
        bundles.store, channel, draft, now=datetime.now(UTC), who=who, supersede=supersede
    )
    if as_json:
        answer(
            {
                "campaign": published.campaign,
                "resumed": published.resumed,
                "superseded": published.superseded,
                "policy_changed": list(published.policy_changed),
            }
        )
    else:
        word = "goes on" if published.resumed else "is published"
        click.echo(f"Campaign {published.campaign} {word} on {channel}.")
        if published.superseded:
            click.echo(f"Closed: the campaign about {published.superseded}.")
        for problem in published.problems:
            click.echo(f"It must not pass: {problem}.")
        click.echo(f"Raters: lookalike rate --registry {registry} --channel {channel}")


def _material(
    version: str, workspace: Path | None, evaluation: Path | None, checked: Path | None
) -> Material:
    if evaluation is not None and checked is not None:
        return Material(evaluation, checked)
    if workspace is None:
        raise click.UsageError("expected --workspace, or both --evaluation and --checked")
    mine = [
        path.parent
        for path in workspace.glob("steps/evaluate/*/outputs/evaluation/verdict.json")
        if not path.parents[2].name.endswith(".partial")
        and read_json(path).get("version") == version
    ]
    if not mine:
        raise InputError(f"{workspace}: no evaluation of {version} lies there; name --evaluation")
    chosen = max(mine, key=lambda path: path.stat().st_mtime)
    catalogs = [
        path.parent
        for path in workspace.glob("steps/catalog/*/outputs/checked/items.jsonl")
        if not path.parents[2].name.endswith(".partial")
        and path.stat().st_mtime <= chosen.stat().st_mtime
    ]
    if not catalogs:
        raise InputError(f"{workspace}: no checked catalog lies there; name --checked")
    return Material(
        evaluation or chosen,
        checked or max(catalogs, key=lambda path: path.stat().st_mtime),
    )
