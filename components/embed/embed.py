"""The embed step: every image of the checked catalog to a unit vector, only new ones computed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts import embeddings as embedding_files
from components.contracts.catalog import (
    ITEMS_FILE,
    QUERIES_FILE,
    TAXONOMY_FILE,
    Item,
    Query,
    read_items,
    read_queries,
    read_rejects,
    write_rejects,
)
from components.contracts.embeddings import Embeddings, Vectors
from components.contracts.encoder import SAVED_MODEL_DIRECTORY, EncoderCard, read_encoder
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import fresh_directory, write_atomically, write_json
from components.contracts.progress import Progress
from components.contracts.taxonomy import Taxonomy
from components.embed import pipeline
from components.embed.config import EmbedConfig
from components.embed.model import EncoderHandler
from components.embed.pipeline import Plan, Work
from components.embed.report import Before, render
from components.search.searcher import VECTORS_FILE, load_vectors

DEAD_LETTERS_FILE = "dead_letters.jsonl"
SUMMARY_FILE = "summary.json"
ITEMS, QUERIES, QUERIES_INCUMBENT = "items", "queries", "queries_incumbent"


def embed_catalog(
    *,
    checked: Path,
    encoder: Path,
    incumbent_bundle: Path | None,
    config: EmbedConfig,
    output: Path,
    report: Path | None = None,
) -> dict[str, float]:
    """Embeds the items and the shopper photos of a checked catalog.

    Vectors of the incumbent are taken over by content hash where its encoder is the same one. Where
    it is another one, the photos are embedded by both, so that both indexes can be asked.

    Args:
        checked: The checked catalog.
        encoder: The encoder.
        incumbent_bundle: The live bundle, None when there is none.
        config: Batch size, bounds and limits.
        output: Directory to write `items/`, `queries/`, `queries_incumbent/`, `dead_letters.jsonl`
            and, last, `summary.json` into.
        report: HTML file to write the page for people to; None for none.

    Returns:
        The figures of the summary that are numbers.

    Raises:
        InputError: There is no item, or the encoder is not as its card says.
        LookalikeError: More images came to nothing than the configuration allows.
    """
    items = read_items(checked / ITEMS_FILE)
    if not items:
        raise InputError(f"{checked / ITEMS_FILE}: expected at least one item, found none")
    queries = read_queries(checked / QUERIES_FILE) if (checked / QUERIES_FILE).exists() else []
    card = read_encoder(encoder)
    incumbent = _incumbent(incumbent_bundle, card)
    plan = _plan(items, queries, encoder=encoder, card=card, incumbent=incumbent, config=config)

    fresh_directory(output)
    dead_letters = output / DEAD_LETTERS_FILE
    compute = sum(work.row is None for work in plan.works)
    started = time.monotonic()
    with Progress("embed", total=compute, unit="images") as progress:
        if compute < len(plan.works):
            progress.advance(0, note=f"{len(plan.works) - compute} taken over")
        EncoderHandler.report = progress.advance
        try:
            pipeline.run(plan, config=config, output=output, dead_letters=dead_letters)
        finally:
            EncoderHandler.report = None
    seconds = time.monotonic() - started
    _check_rejects(dead_letters, len(plan.works), config)

    dead = len(read_rejects(dead_letters))
    embedded = embedding_files.read(output / ITEMS)
    figures = {
        "items": float(len(embedded)),
        "queries": float(len(queries)),
        "reused": float(len(plan.works) - compute),
        "computed": float(compute - dead),
        "dead_letters": float(dead),
        "seconds": seconds,
        "images_per_second": compute / seconds if seconds else 0.0,
        **_norms(embedded.vectors),
        **_drift(embedded.vectors, incumbent),
    }
    if report:
        _report(report, checked, items, embedded, plan, figures, incumbent, config, dead_letters)
    write_json(
        output / SUMMARY_FILE,
        {
            **figures,
            "encoder_digest": card.digest,
            "embedding_dim": card.embedding_dim,
            "incumbent_encoder_digest": incumbent.card.digest if incumbent else "",
        },
    )
    return figures


def _report(
    report: Path,
    checked: Path,
    items: Sequence[Item],
    embedded: Embeddings,
    plan: Plan,
    figures: Mapping[str, float],
    incumbent: _Incumbent | None,
    config: EmbedConfig,
    dead_letters: Path,
) -> None:
    before = None
    if incumbent:
        before = Before(
            vectors=load_vectors(incumbent.bundle),
            same_encoder=incumbent.same_encoder,
            items={i.item_id: i.content_hash for i in read_items(incumbent.bundle / ITEMS_FILE)},
        )
    computed = {work.key for work in plan.works if work.output == ITEMS and work.row is None}
    text = render(
        items=items,
        taxonomy=Taxonomy.read(checked / TAXONOMY_FILE),
        embedded=embedded,
        computed=frozenset(computed),
        figures=figures,
        dead=read_rejects(dead_letters),
        before=before,
        limits=config.image_limits,
    )
    write_atomically(report, text)


@dataclass(frozen=True)
class _Incumbent:
    """The live bundle as far as this step needs it."""

    bundle: Path
    card: EncoderCard
    same_encoder: bool
    rows: Mapping[str, int]


def _incumbent(bundle: Path | None, card: EncoderCard) -> _Incumbent | None:
    if bundle is None:
        return None
    live = read_encoder(bundle / "encoder")
    if live.digest != card.digest:
        return _Incumbent(bundle, live, same_encoder=False, rows={})
    vectors = load_vectors(bundle)
    items = read_items(bundle / ITEMS_FILE)
    if vectors.shape != (len(items), card.embedding_dim):
        raise InputError(
            f"{bundle}: expected {len(items)} vectors of {card.embedding_dim} dimensions, found "
            f"{list(vectors.shape)}"
        )
    rows = {item.content_hash: row for row, item in enumerate(items)}
    return _Incumbent(bundle, live, same_encoder=True, rows=rows)


def _plan(
    items: Sequence[Item],
    queries: Sequence[Query],
    *,
    encoder: Path,
    card: EncoderCard,
    incumbent: _Incumbent | None,
    config: EmbedConfig,
) -> Plan:
    rows = incumbent.rows if incumbent else {}
    works = [
        Work(ITEMS, item.item_id, item.image, item.content_hash, rows.get(item.content_hash))
        for item in items
    ]
    outputs = {ITEMS: (encoder, card)}
    if queries:
        outputs[QUERIES] = (encoder, card)
        if incumbent and not incumbent.same_encoder:
            outputs[QUERIES_INCUMBENT] = (incumbent.bundle / "encoder", incumbent.card)
    works += [
        Work(name, query.query_id, query.image, query.content_hash)
        for name in outputs
        if name != ITEMS
        for query in queries
    ]
    return Plan(
        works=tuple(works),
        models={name: path / SAVED_MODEL_DIRECTORY for name, (path, _) in outputs.items()},
        dims={name: one.embedding_dim for name, (_, one) in outputs.items()},
        shards={
            name: _shards(len(items) if name == ITEMS else len(queries), config) for name in outputs
        },
        known_vectors=incumbent.bundle / VECTORS_FILE if incumbent else None,
    )


def _shards(rows: int, config: EmbedConfig) -> int:
    wanted = -(-rows // config.rows_per_shard)
    return 1 << (wanted - 1).bit_length()


def _check_rejects(dead_letters: Path, images: int, config: EmbedConfig) -> None:
    if not dead_letters.exists():
        write_rejects(dead_letters, [])
    rejects = read_rejects(dead_letters)
    share = len(rejects) / images
    if share > config.max_reject_share:
        first = "; ".join(f"{reject.key}: {reject.detail}" for reject in rejects[:3])
        raise LookalikeError(
            f"embed: {len(rejects)} of {images} images ({share:.1%}) came to nothing, more than "
            f"the {config.max_reject_share:.1%} of embed.max_reject_share; first: {first}; all of "
            f"them: {dead_letters}"
        )


def _norms(vectors: Vectors) -> dict[str, float]:
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return {"norm_min": float(norms.min()), "norm_max": float(norms.max())}


def _drift(vectors: Vectors, incumbent: _Incumbent | None) -> dict[str, float]:
    """Returns how far the catalog's centre has moved since the incumbent, as 1 - cosine.

    Only vectors of one encoder can be compared: with another one there is no figure.
    """
    if incumbent is None or not incumbent.same_encoder:
        return {}
    now: Any = vectors.mean(axis=0, dtype=np.float64)
    before: Any = load_vectors(incumbent.bundle).mean(axis=0, dtype=np.float64)
    lengths = float(np.linalg.norm(now) * np.linalg.norm(before))
    return {"drift": 1.0 - float(now @ before) / lengths} if lengths else {}
