"""A delta, from a table of changed items to what is live: the steps of a run, on a few items.

What is live is taken as it is; the changed items are checked, embedded by its own encoder and put
into its index; the result is published, judged by the same offline gate, and promoted only where
the channel's policy lets the human verdict on the last whole build hold for it.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from components.catalog.check import check_catalog
from components.catalog.config import CatalogConfig
from components.contracts.bundle import read_manifest
from components.contracts.catalog import (
    ITEMS_FILE,
    REJECTS_FILE,
    TAXONOMY_FILE,
    Item,
    Reject,
    read_items,
    read_rejects,
)
from components.contracts.container_images import VERSION
from components.contracts.delta import read_lineage
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import fresh_directory
from components.contracts.verdict import Verdict
from components.embed.config import EmbedConfig
from components.evaluate.config import EvaluateConfig
from components.evaluate.delta import evaluate_delta
from components.index.delta import DeltaConfig, build_delta
from components.promote import operations
from components.promote.operations import Done
from components.registry.registry import Registry

REPORT_FILE = "report.html"
CATALOG_REPORT = "catalog.html"
_DEAD_LETTERS = "dead_letters.jsonl"


@dataclass(frozen=True)
class DeltaRequest:
    """What is to change.

    Attributes:
        registry: URI of the registry.
        channel: The channel whose live version is changed.
        upserts: Table of items to add or replace, as for a run; None for none.
        deletes: Ids of items to take out.
        who: The person or program.
        why: The reason in words.
        max_reject_share: Largest share of the table's rows, and of its images, that may be set
            aside, 0 to 1.
        promote: Whether to promote what passes; else it stays a candidate.
    """

    registry: str
    channel: str
    upserts: Path | None
    deletes: tuple[str, ...]
    who: str
    why: str
    max_reject_share: float = 0.02
    promote: bool = True


@dataclass(frozen=True)
class DeltaOutcome:
    """What came of it.

    Attributes:
        version: The delta.
        base: What it was made of.
        items: How many items it indexes.
        upserts: Items added or replaced.
        deletes: Items taken out.
        changed_share: Share of the last whole build's items that have changed since.
        rejects: What was set aside.
        verdict: The offline verdict.
        promotion: What the channel did; None when it was not asked.
    """

    version: str
    base: str
    items: int
    upserts: int
    deletes: int
    changed_share: float
    rejects: tuple[Reject, ...]
    verdict: Verdict
    promotion: Done | None

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "version": self.version,
            "base": self.base,
            "items": self.items,
            "upserts": self.upserts,
            "deletes": self.deletes,
            "changed_share": self.changed_share,
            "rejects": [
                {"id": one.key, "reason": one.reason, "detail": one.detail} for one in self.rejects
            ],
            "offline": self.verdict.status,
            "failures": [check.reason for check in self.verdict.failures],
            "promotion": self.promotion.result if self.promotion else None,
        }


def run_delta(request: DeltaRequest, config: DeltaConfig, *, output: Path) -> DeltaOutcome:
    """Builds, publishes, judges and, where it may, promotes a delta of what is live.

    Args:
        request: What is to change.
        config: How far a delta may go.
        output: Directory to keep the reports, the figures and what was set aside in, also when
            it stops; emptied first.

    Returns:
        What came of it; a refusal by a gate is an outcome.

    Raises:
        InputError: The request cannot be carried out.
        RebuildDueError: Too much has changed since the last whole build.
        LookalikeError: Nothing is live, too much was set aside, or the registry fails.
    """
    registry = Registry.open(request.registry)
    live = registry.channel(request.channel).live
    if not live:
        raise LookalikeError(
            f"channel {request.channel}: nothing is live that a delta could be made of; run the "
            "whole pipeline first (lookalike run)"
        )
    fresh_directory(output)
    with tempfile.TemporaryDirectory(prefix="lookalike-delta-") as folder:
        scratch = Path(folder)
        base = registry.download_bundle(live, scratch / "base")
        origin = _origin(registry, base, scratch)
        thresholds = _thresholds(registry, read_manifest(origin).version)
        items, embeddings, rejects = _upserts(request, base, output)
        bundle = scratch / "bundle"
        manifest = build_delta(
            base=base,
            origin=origin,
            upserts=items,
            embeddings=embeddings,
            deletes=request.deletes,
            lineage={"incumbent": live, "code": VERSION, "run": f"delta by {request.who}"},
            config=config,
            bundle=bundle,
        )
        registry.publish_bundle(bundle)
        verdict = evaluate_delta(
            bundle=bundle,
            base=base,
            origin=origin,
            registry=request.registry,
            config=thresholds,
            output=output / "evaluation",
            report=output / REPORT_FILE,
        )
        registry.write_verdict(verdict)
    promotion = None
    if request.promote:
        promotion = operations.promote(
            registry=request.registry,
            channel=request.channel,
            version=manifest.version,
            who=request.who,
            why=request.why,
            expected_live=live,
        )
    lineage = read_lineage(manifest)
    assert lineage is not None
    return DeltaOutcome(
        version=manifest.version,
        base=live,
        items=manifest.items,
        upserts=lineage.upserts,
        deletes=lineage.deletes,
        changed_share=lineage.changed_share,
        rejects=rejects,
        verdict=verdict,
        promotion=promotion,
    )


def _origin(registry: Registry, base: Path, scratch: Path) -> Path:
    """Returns the last whole build: what people judged and the index was trained on."""
    lineage = read_lineage(read_manifest(base))
    if lineage is None:
        return base
    if not registry.has(lineage.origin):
        raise LookalikeError(
            f"{lineage.base}: the whole build {lineage.origin} that it came from is no longer in "
            "the registry; run the whole pipeline (lookalike run)"
        )
    return registry.download_bundle(lineage.origin, scratch / "origin")


def _upserts(
    request: DeltaRequest, base: Path, output: Path
) -> tuple[list[Item], Path | None, tuple[Reject, ...]]:
    """Checks and embeds the table; returns the items that came through and what did not."""
    if request.upserts is None:
        return [], None, ()
    # Loaded here: a delta that only takes items out needs neither Beam nor TensorFlow.
    with _without_greetings():
        from components.embed.embed import embed_catalog  # noqa: PLC0415

    # Beam remarks on each missing type hint, dozens of lines that say nothing of the items.
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    checked, embeddings = output / "checked", output / "embeddings"
    check_catalog(
        catalog=str(request.upserts),
        taxonomy=str(base / TAXONOMY_FILE),
        votes="",
        queries="",
        previous_taxonomy=base / TAXONOMY_FILE,
        config=CatalogConfig(max_reject_share=request.max_reject_share),
        output=checked,
        report=output / CATALOG_REPORT,
    )
    embed_catalog(
        checked=checked,
        encoder=base / "encoder",
        incumbent_bundle=base,
        config=EmbedConfig(max_reject_share=request.max_reject_share),
        output=embeddings,
    )
    dead = read_rejects(embeddings / _DEAD_LETTERS)
    lost = {reject.key for reject in dead}
    items = [item for item in read_items(checked / ITEMS_FILE) if item.item_id not in lost]
    return items, embeddings / "items", (*read_rejects(checked / REJECTS_FILE), *dead)


@contextmanager
def _without_greetings() -> Iterator[None]:
    """Keeps off the terminal what TensorFlow's libraries print while they are loaded.

    They write past Python, to the file behind standard error, whatever their log level says.
    """
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as greetings:
            os.dup2(greetings.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _thresholds(registry: Registry, origin: str) -> EvaluateConfig:
    """Returns what the origin had to show, as its offline verdict recorded it.

    Raises:
        InputError: It has no offline verdict that says so: nobody knows what to demand.
    """
    stored = [
        entry.verdict
        for entry in registry.stored_verdicts(origin)
        if entry.readable and entry.verdict.gate == "offline" and entry.verdict.parameters
    ]
    if not stored:
        raise InputError(
            f"version {origin}: expected an offline verdict with the thresholds that it was held "
            "to, found none; evaluate it first (lookalike run)"
        )
    given: Mapping[str, Any] = stored[-1].parameters or {}
    known = {entry.name for entry in fields(EvaluateConfig)}
    return EvaluateConfig(**{name: value for name, value in given.items() if name in known})
