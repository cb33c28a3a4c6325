"""The Beam pipeline: images in, Parquet shards of vectors and dead letters out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference

from components.contracts.beam_options import beam_pipeline
from components.contracts.catalog import Reject
from components.contracts.embeddings import to_table
from components.contracts.files import sha256_bytes
from components.contracts.images import BadImageError, ImageLimits, admit, read_image
from components.contracts.web_addresses import shown_uri
from components.embed.config import EmbedConfig
from components.embed.model import NO_VECTOR, EncoderHandler
from components.search.searcher import unit_rows

_DEAD = "dead"
# (output, id, image, content hash): plain strings pass between Beam's stages fastest.
_Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Work:
    """One vector to come.

    Attributes:
        output: `items`, `queries` or `queries_incumbent`.
        key: The item's or query's id.
        image: Where the image lies.
        content_hash: SHA-256 of its bytes as the catalog step saw them.
        row: Row of a known vector to take over; None to compute it.
    """

    output: str
    key: str
    image: str
    content_hash: str
    row: int | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that the pipeline does.

    Attributes:
        works: The vectors to come.
        models: For each output, the SavedModel that computes it.
        dims: For each output, the dimensions of its vectors.
        shards: For each output, the number of its Parquet files.
        known_vectors: The npy file that `Work.row` points into.
    """

    works: tuple[Work, ...]
    models: Mapping[str, Path]
    dims: Mapping[str, int]
    shards: Mapping[str, int]
    known_vectors: Path | None = None


def run(plan: Plan, *, config: EmbedConfig, output: Path, dead_letters: Path) -> None:
    """Runs the pipeline to its end.

    Args:
        plan: What to compute and what to take over.
        config: Batch size, image bounds and Beam's options.
        output: Directory for one folder of Parquet files for each output.
        dead_letters: JSON-lines file for the images that came to nothing.
    """
    with beam_pipeline(config.beam_options, "embed.beam_options") as pipeline:
        found: list[Any] = []
        dead: list[Any] = []
        # Outputs of one encoder go through one copy of it.
        for model in dict.fromkeys(plan.models.values()):
            outputs = [name for name, used in plan.models.items() if used == model]
            computed, rejects = _computed(pipeline, plan, outputs, model, config)
            found.append(computed)
            dead += rejects
        known = [work for work in plan.works if work.row is not None]
        if known:
            found.append(
                pipeline
                | "Known" >> beam.Create([(_key(work), work.row) for work in known])
                | "TakeOver" >> beam.ParDo(TakeOver(str(plan.known_vectors)))
            )
        _ = (
            found
            | "Vectors" >> beam.Flatten()
            | beam.Map(_to_shard, shards=dict(plan.shards))
            | beam.GroupByKey()
            | beam.ParDo(WriteShard(str(output), dict(plan.shards)))
        )
        _ = (
            dead
            | "DeadLetters" >> beam.Flatten()
            | beam.combiners.ToList()
            | beam.Map(_write_dead_letters, path=str(dead_letters))
        )


def _computed(
    pipeline: Any, plan: Plan, outputs: Sequence[str], model: Path, config: EmbedConfig
) -> tuple[Any, list[Any]]:
    """Returns the vectors of some outputs, and their two kinds of dead letters."""
    name, dim = "+".join(outputs), plan.dims[outputs[0]]
    works = [_key(work) for work in plan.works if work.output in outputs and work.row is None]
    handler = EncoderHandler(str(model), batch_size=config.batch_size)
    admitted = (
        pipeline
        | f"{name}/Images" >> beam.Create(works, reshuffle=False)
        | f"{name}/Admit"
        >> beam.ParDo(Admit(config.image_limits)).with_outputs(_DEAD, main="admitted")
    )
    checked = (
        admitted.admitted
        | f"{name}/Encode" >> RunInference(KeyedModelHandler(handler))
        | f"{name}/Check" >> beam.ParDo(CheckVector(dim)).with_outputs(_DEAD, main="vectors")
    )
    return checked.vectors, [admitted[_DEAD], checked[_DEAD]]


class Admit(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Reads and checks images; what cannot be decoded goes to the dead letters, never further."""

    def __init__(self, limits: ImageLimits) -> None:
        """Keeps the images' bounds."""
        self._limits = limits

    def process(self, key: _Key) -> Iterator[Any]:
        """Turns a key into (key, image bytes) or a dead letter."""
        _, _, image, content_hash = key
        try:
            data = read_image(image, self._limits)
            if sha256_bytes(data) != content_hash:
                raise BadImageError(
                    "changed_image",
                    f"{shown_uri(image)}: expected the bytes that the catalog step saw, "
                    "found others; run the catalog step again",
                )
            yield key, admit(data, self._limits)
        except BadImageError as error:
            yield _dead(key, error.reason, str(error))
        # Whatever a hostile file does to a decoder, it must not end the job for the others.
        except Exception as error:
            yield _dead(key, "undecodable_image", repr(error))


class CheckVector(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Lets vectors through that can be searched with; the others go to the dead letters."""

    def __init__(self, dim: int) -> None:
        """Keeps the dimensions that a vector must have."""
        self._dim = dim

    def process(self, element: tuple[_Key, bytes]) -> Iterator[Any]:
        """Passes on (key, vector bytes), or yields a dead letter."""
        key, data = element
        if data == NO_VECTOR:
            yield _dead(key, "undecodable_image", "the preprocessing graph cannot decode it")
            return
        vector = np.frombuffer(data, np.float32)
        if len(vector) != self._dim or not unit_rows(vector[None, :])[0]:
            yield _dead(
                key,
                "bad_vector",
                f"expected {self._dim} finite numbers of norm 1, received {len(vector)} of norm "
                f"{np.linalg.norm(vector):.4g}",
            )
            return
        yield element


class TakeOver(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Looks known vectors up."""

    def __init__(self, vectors: str) -> None:
        """Keeps where the npy file lies."""
        self._path = vectors
        self._vectors: Any = None

    def setup(self) -> None:
        """Maps the file."""
        self._vectors = np.load(self._path, mmap_mode="r", allow_pickle=False)

    def process(self, element: tuple[_Key, int]) -> Iterator[tuple[_Key, bytes]]:
        """Turns (key, row) into (key, vector bytes)."""
        key, row = element
        yield key, self._vectors[row].tobytes()


class WriteShard(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Writes one Parquet file: rows in the order of their ids, whole or not at all."""

    def __init__(self, directory: str, shards: Mapping[str, int]) -> None:
        """Keeps the embeddings' directory and the number of shards of each output."""
        self._directory = directory
        self._shards = dict(shards)

    def process(
        self, element: tuple[tuple[str, int], Iterable[tuple[str, str, bytes]]]
    ) -> Iterator[int]:
        """Writes the shard; yields how many rows."""
        (name, shard), grouped = element
        rows = sorted(grouped)
        vectors = np.stack([np.frombuffer(data, np.float32) for _, _, data in rows])
        table = to_table([row[0] for row in rows], [row[1] for row in rows], vectors)
        path = Path(self._directory) / name / f"part-{shard:05d}-of-{self._shards[name]:05d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        pq.write_table(table, partial)
        partial.replace(path.with_suffix(".parquet"))
        yield len(rows)


def _key(work: Work) -> _Key:
    return work.output, work.key, work.image, work.content_hash


def _dead(key: _Key, reason: str, detail: str) -> Any:
    output, name, image, _ = key
    shown = shown_uri(image)
    text = detail if shown in detail else f"{shown}: {detail}"
    kind = "item" if output == "items" else "query"
    return beam.pvalue.TaggedOutput(_DEAD, Reject(kind, name, output, 0, reason, text))


def _to_shard(
    element: tuple[_Key, bytes], *, shards: Mapping[str, int]
) -> tuple[tuple[str, int], tuple[str, str, bytes]]:
    (output, key, _, content_hash), data = element
    digest = int(sha256_bytes(f"shard:{key}".encode())[:16], 16)
    return (output, digest % shards[output]), (key, content_hash, data)


def _write_dead_letters(rejects: Sequence[Reject], *, path: str) -> None:
    ordered = sorted(rejects, key=lambda reject: (reject.source, reject.key))
    text = "".join(json.dumps(asdict(reject), sort_keys=True) + "\n" for reject in ordered)
    Path(path).write_text(text, encoding="utf-8")
