"""The embed step: every image of the checked catalog to a unit vector, only new ones computed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts import embeddings as embedding_files
from components.contracts.catalog import (
    ITEMS_FILE,
    QUERIES_FILE,
    TAXONOMY_FILE,
    Item,
    Reject,
    read_items,
    read_queries,
    read_rejects,
    write_rejects,
)
from components.contracts.embeddings import Embeddings, Vectors
from components.contracts.encoder import SAVED_MODEL_DIRECTORY, read_encoder
from components.contracts.errors import InputError, LookalikeError, full_disk_told
from components.contracts.files import (
    fresh_directory,
    write_atomically,
    write_json,
)
from components.contracts.progress import Progress
from components.contracts.taxonomy import Taxonomy
from components.embed import estimate, pipeline
from components.embed.config import EmbedConfig
from components.embed.encoders import ITEMS, Encoder, Incumbent, plan, read_incumbent
from components.embed.pipeline import Task, Work
from components.embed.report import Before, render
from components.embed.shards import Output
from components.registry.object_store import ObjectStore
from components.search.searcher import load_vectors

DEAD_LETTERS_FILE = "dead_letters.jsonl"
SUMMARY_FILE = "summary.json"
_UNFINISHED = "unfinished"
# A rate over fewer images than this is mostly the start-up's.
_IMAGES_FOR_A_RATE = 500


@full_disk_told("embed")
def embed_catalog(
    *,
    checked: Path,
    encoder: Path,
    incumbent_bundle: Path | None,
    config: EmbedConfig,
    output: Path,
    report: Path | None = None,
    store: ObjectStore | None = None,
) -> dict[str, float]:
    """Embeds the items and the shopper photos of a checked catalog.

    Vectors are taken over by content hash where they were made by the same encoder within the same
    bounds on images: kept by an earlier run, or in the incumbent's index. Shards whose rows are
    all the same are taken over byte for byte. Where the incumbent's encoder is another one, the
    photos are embedded by both, so that both indexes can be asked.

    Taken over means equal up to rounding: an encoder's vector for an image differs in the last
    bit (6e-8) with the number of images in the call.

    Args:
        checked: The checked catalog.
        encoder: The encoder.
        incumbent_bundle: The live bundle, None when there is none.
        config: Batch size, bounds and limits.
        output: Directory to write `items/`, `queries/`, `queries_incumbent/`, `dead_letters.jsonl`
            and, last, `summary.json` into.
        report: HTML file to write the page for people to; None for none.
        store: The registry's store, where shards are kept for the next run; None for nowhere.

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
    incumbent = read_incumbent(incumbent_bundle, card)

    fresh_directory(output)
    scratch = output / _UNFINISHED
    try:
        encoders = plan(items, queries, encoder, card, incumbent, config, store, scratch)
        outputs = [one for used in encoders for one in used.outputs]
        said = _announce(encoders, incumbent, config)
        computed = frozenset(outputs[0].rows[position].key for position in outputs[0].missing)
        seconds = _compute(encoders, config, output, scratch)
        dead = read_rejects(output / DEAD_LETTERS_FILE)
        compute = sum(len(one.missing) for one in outputs)
        images = sum(len(one.rows) for one in outputs)
        _check_nothing_lost(outputs, dead)
        notes = [said, *_write(encoders, config, output, compute, seconds)]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

    embedded = embedding_files.read(output / ITEMS)
    photos = outputs[1:]
    figures = {
        "items": float(len(embedded)),
        "queries": float(len(queries)),
        "reused": float(images - compute),
        "reused_photos": float(sum(len(one.rows) - len(one.missing) for one in photos)),
        "photos": float(sum(len(one.rows) for one in photos)),
        "shards": float(sum(len(one.shards) for one in outputs)),
        "reused_shards": float(sum(one.taken_over for one in outputs)),
        "computed": float(compute - len(dead)),
        "dead_letters": float(len(dead)),
        "seconds": seconds,
        "images_per_second": compute / seconds if seconds else 0.0,
        **_norms(embedded.vectors),
        **_drift(embedded.vectors, incumbent),
    }
    if report:
        _report(report, checked, items, embedded, computed, figures, incumbent, config, dead, notes)
    write_json(
        output / SUMMARY_FILE,
        {
            **figures,
            "encoder_digest": card.digest,
            "embedding_dim": card.embedding_dim,
            "image_limits": config.limits_key,
            "incumbent_encoder_digest": incumbent.card.digest if incumbent else "",
        },
    )
    return figures


def _report(
    report: Path,
    checked: Path,
    items: Sequence[Item],
    embedded: Embeddings,
    computed: frozenset[str],
    figures: Mapping[str, float],
    incumbent: Incumbent | None,
    config: EmbedConfig,
    dead: Sequence[Reject],
    notes: Sequence[str],
) -> None:
    before = None
    if incumbent:
        before = Before(
            vectors=load_vectors(incumbent.bundle),
            same_encoder=incumbent.same_encoder,
            items={i.item_id: i.content_hash for i in read_items(incumbent.bundle / ITEMS_FILE)},
        )
    text = render(
        items=items,
        taxonomy=Taxonomy.read(checked / TAXONOMY_FILE),
        embedded=embedded,
        computed=computed,
        figures=figures,
        dead=dead,
        before=before,
        limits=config.image_limits,
        notes=notes,
    )
    write_atomically(report, text)


def _announce(encoders: Sequence[Encoder], incumbent: Incumbent | None, config: EmbedConfig) -> str:
    """Says what is going to be computed and how long it may take; returns it for the report."""
    own = encoders[0]
    outputs = [output for one in encoders for output in one.outputs]
    compute = sum(len(output.missing) for output in outputs)
    total = sum(len(output.rows) for output in outputs)
    why = ""
    if all(len(output.missing) == len(output.rows) for output in own.outputs):
        why = "nothing was computed with this encoder before"
        if incumbent and not incumbent.same_encoder:
            why = "the encoder is new, so that no vector can be taken over"
    rate, source = float(own.known.about.get("images_per_second", 0.0)), "the last run's rate"
    if not rate and compute >= estimate.WORTH_MEASURING:
        rows = own.outputs[0]
        rate = estimate.measured_rate(
            own.path / SAVED_MODEL_DIRECTORY,
            (rows.images[position] for position in rows.missing),
            batch_size=config.batch_size,
            limits=config.image_limits,
        )
        source = "measured on some of them just now"
    said = estimate.announcement(compute, total, rate=rate, source=source, why=why)
    print(f"embed: {said}", flush=True)
    return said


def _compute(
    encoders: Sequence[Encoder], config: EmbedConfig, output: Path, scratch: Path
) -> float:
    """Computes what is missing and returns how many seconds it took."""
    outputs = {one.name: one for used in encoders for one in used.outputs}
    dead_letters = output / DEAD_LETTERS_FILE
    total = sum(len(one.missing) for one in outputs.values())
    images = sum(len(one.rows) for one in outputs.values())
    started = time.monotonic()
    with Progress("embed", total=total, unit="images") as progress:
        if total < images:
            progress.advance(0, note=f"{images - total} taken over")
        tasks = [_task(used) for used in encoders if any(one.missing for one in used.outputs)]
        if tasks:
            with progress.following(pipeline.progress_of(scratch)):
                pieces = pipeline.run(
                    tasks, config=config, scratch=scratch, dead_letters=dead_letters
                )
            for piece in pieces:
                name, positions, vectors = pipeline.read_piece(piece)
                outputs[name].add(positions, vectors)
        # Workers on other machines may see another folder than this process does.
        progress.advance(total - progress.done)
    seconds = time.monotonic() - started
    _check_rejects(dead_letters, images, config)
    return seconds


def _task(used: Encoder) -> Task:
    def works() -> Iterator[Work]:
        for output in used.outputs:
            for position in output.missing:
                row = output.rows[position]
                image = output.images[position]
                yield Work(output.name, position, row.key, image, row.content_hash)

    names = "+".join(output.name for output in used.outputs)
    return Task(names, used.path / SAVED_MODEL_DIRECTORY, used.card.embedding_dim, works())


def _check_nothing_lost(outputs: Sequence[Output], dead: Sequence[Reject]) -> None:
    empty = {
        (output.name, output.rows[int(position)].key)
        for output in outputs
        for position in np.flatnonzero(~output.filled)
    }
    if empty != {(reject.source, reject.key) for reject in dead}:
        raise LookalikeError(
            f"embed: expected a vector or a dead letter for every image, found {len(empty)} "
            f"images without a vector and {len(dead)} dead letters; nothing may get lost, so this "
            "output is not used: run the step again, and report it if it comes back"
        )


def _write(
    encoders: Sequence[Encoder],
    config: EmbedConfig,
    output: Path,
    compute: int,
    seconds: float,
) -> list[str]:
    """Writes all shards, keeps them for the next run and returns what went wrong with keeping."""
    notes: list[str] = []
    for number, used in enumerate(encoders):
        files = list(used.known.others)
        for one in used.outputs:
            files += one.write(
                output / one.name, encoder=used.card.digest, limits=config.limits_key
            )
        if used.known.kept:
            about = dict(used.known.about)
            if number == 0 and compute >= _IMAGES_FOR_A_RATE:
                about["images_per_second"] = compute / seconds
            used.known.kept.publish(files, about)
            notes += used.known.kept.failures
    for note in notes:
        print(f"embed: {note}", flush=True)
    return notes


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


def _drift(vectors: Vectors, incumbent: Incumbent | None) -> dict[str, float]:
    """Returns how far the catalog's centre has moved since the incumbent, as 1 - cosine.

    Only vectors of one encoder can be compared: with another one there is no figure.
    """
    if incumbent is None or not incumbent.same_encoder:
        return {}
    now: Any = vectors.mean(axis=0, dtype=np.float64)
    before: Any = load_vectors(incumbent.bundle).mean(axis=0, dtype=np.float64)
    lengths = float(np.linalg.norm(now) * np.linalg.norm(before))
    return {"drift": 1.0 - float(now @ before) / lengths} if lengths else {}
