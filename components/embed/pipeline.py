"""The Beam pipeline: images in, pieces of vectors and dead letters out.

Nothing is grouped and only names of files pass between processes, so memory hangs on the batch
size and not on how many images there are.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow.parquet as pq
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference

from components.contracts.beam_options import beam_job, beam_pipeline
from components.contracts.catalog import Reject
from components.contracts.embeddings import to_table
from components.contracts.files import write_json_lines
from components.contracts.image_reading import read_ahead
from components.contracts.images import ImageLimits
from components.contracts.progress import Tally
from components.contracts.web_addresses import shown_uri
from components.embed.config import EmbedConfig
from components.embed.model import CALLS_AT_ONCE, NO_VECTOR, EncoderHandler
from components.search.searcher import unit_rows

_DEAD = "dead"
_WORK = "work"
# So many images one list of work names, and so many vectors one piece holds.
_PIECE = 1024


class Work(NamedTuple):
    """One vector to compute.

    Attributes:
        output: `items`, `queries` or `queries_incumbent`.
        slot: Its row among the output's vectors.
        key: The item's or query's id.
        image: Where the image lies.
        content_hash: SHA-256 of its bytes as the catalog step saw them.
    """

    output: str
    slot: int
    key: str
    image: str
    content_hash: str


@dataclass(frozen=True)
class Task:
    """What one encoder has to compute.

    Attributes:
        name: Tells the tasks apart.
        saved_model: The encoder.
        dim: Dimensions of its vectors.
        works: The vectors to compute.
    """

    name: str
    saved_model: Path
    dim: int
    works: Iterable[Work]


def run(
    tasks: Sequence[Task], *, config: EmbedConfig, scratch: Path, dead_letters: Path
) -> list[Path]:
    """Runs the pipeline to its end.

    Args:
        tasks: What to compute.
        config: Batch size, image bounds and Beam's options.
        scratch: Directory that every worker can reach, for lists of work and pieces.
        dead_letters: JSON-lines file for the images that came to nothing.

    Returns:
        The pieces, for `read_piece`. A piece may come twice where a worker was lost meanwhile.
    """
    lists = {task.name: _write_lists(task, scratch / _WORK) for task in tasks}
    pieces = scratch / "pieces"
    pieces.mkdir(parents=True, exist_ok=True)
    dead: list[Any] = []
    tally = progress_of(scratch)
    empty = beam_pipeline(config.beam_options, "embed.beam_options")
    with beam_job(empty, "embed") as pipeline:
        for task in tasks:
            name = task.name
            handler = EncoderHandler(
                str(task.saved_model), batch_size=config.batch_size, tally=tally
            )
            admitted = (
                pipeline
                | f"{name}/Lists" >> beam.Create([str(path) for path in lists[name]])
                | f"{name}/Admit"
                >> beam.ParDo(Admit(config.image_limits, config.batch_size, tally)).with_outputs(
                    _DEAD, main="admitted"
                )
            )
            checked = (
                admitted.admitted
                | f"{name}/Encode" >> RunInference(KeyedModelHandler(handler))
                | f"{name}/Check"
                >> beam.ParDo(CheckVectors(task.dim, tally)).with_outputs(_DEAD, main="vectors")
            )
            _ = checked.vectors | f"{name}/Write" >> beam.ParDo(WritePieces(str(pieces)))
            dead += [admitted[_DEAD], checked[_DEAD]]
        _ = (
            dead
            | "DeadLetters" >> beam.Flatten()
            | beam.combiners.ToList()
            | beam.Map(_write_dead_letters, path=str(dead_letters))
        )
    return sorted(pieces.glob("*.parquet"))


def progress_of(scratch: Path) -> Tally:
    """Returns where a run with this scratch folder tells how far it is."""
    return Tally(str(scratch / "progress"))


def read_piece(path: Path) -> tuple[str, list[int], Any]:
    """Returns a piece's output, the slots of its vectors, and the vectors, float32."""
    table = pq.read_table(path)
    column = table.column("embedding").combine_chunks()
    vectors = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
    slots = [int(slot) for slot in table.column("id").to_pylist()]
    return path.name.partition("-")[0], slots, vectors.reshape(len(slots), -1)


def _write_lists(task: Task, directory: Path) -> list[Path]:
    lists: list[Path] = []
    part: list[Work] = []

    def flush() -> None:
        path = directory / f"{task.name}-{len(lists):05d}.jsonl"
        write_json_lines(path, (work._asdict() for work in part))
        lists.append(path)
        part.clear()

    for work in task.works:
        part.append(work)
        if len(part) == _PIECE:
            flush()
    if part:
        flush()
    return lists


class Admit(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Reads and checks images; what cannot be decoded goes to the dead letters, never further.

    A few threads read ahead while the encoder works on the batch before.
    """

    def __init__(self, limits: ImageLimits, batch_size: int, tally: Tally) -> None:
        """Keeps the images' bounds, how many images make a batch, and where to tell of rejects."""
        self._tally = tally
        self._limits = limits
        self._batch_size = batch_size

    def process(self, path: str) -> Iterator[Any]:
        """Turns a list of work into (works, images of a few batches) or dead letters."""
        works: list[Work] = []
        images: list[bytes] = []
        together = CALLS_AT_ONCE * self._batch_size
        for work, found in read_ahead(self._works(Path(path)), self._limits, ahead=together):
            if isinstance(found, bytes):
                works.append(work)
                images.append(found)
                if len(works) == together:
                    yield tuple(works), images
                    works, images = [], []
                continue
            self._tally.add(1, rejects=1)
            yield _dead(work, *found)
        if works:
            yield tuple(works), images

    @staticmethod
    def _works(path: Path) -> Iterator[Work]:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield Work(**json.loads(line))


class CheckVectors(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Lets vectors through that can be searched with; the others go to the dead letters."""

    def __init__(self, dim: int, tally: Tally) -> None:
        """Keeps the dimensions that a vector must have, and where to tell of rejects."""
        self._dim = dim
        self._tally = tally

    def process(self, element: tuple[tuple[Work, ...], Sequence[bytes]]) -> Iterator[Any]:
        """Passes (works, vectors as bytes) on without the bad ones, or yields dead letters."""
        good: list[tuple[Work, bytes]] = []
        for work, data in zip(*element, strict=True):
            if data == NO_VECTOR:
                text = "the preprocessing graph cannot decode it"
                self._tally.add(0, rejects=1)
                yield _dead(work, "undecodable_image", text)
                continue
            vector = np.frombuffer(data, np.float32)
            if len(vector) != self._dim or not unit_rows(vector[None, :])[0]:
                self._tally.add(0, rejects=1)
                yield _dead(
                    work,
                    "bad_vector",
                    f"expected {self._dim} finite numbers of norm 1, received {len(vector)} of "
                    f"norm {np.linalg.norm(vector):.4g}",
                )
                continue
            good.append((work, data))
        if good:
            yield good


class WritePieces(beam.DoFn):  # type: ignore[misc]  # Beam ships no types.
    """Writes vectors with their slots as they come, some at a time, whole or not at all."""

    def __init__(self, directory: str) -> None:
        """Keeps the directory."""
        self._directory = directory
        self._rows: dict[str, list[tuple[Work, bytes]]] = {}

    def start_bundle(self) -> None:
        """Forgets what a failed attempt left."""
        self._rows = {}

    def process(self, rows: Sequence[tuple[Work, bytes]]) -> None:
        """Takes (work, vector bytes) pairs."""
        for row in rows:
            self._rows.setdefault(row[0].output, []).append(row)
        for output in [name for name, kept in self._rows.items() if len(kept) >= _PIECE]:
            self._write(output)

    def finish_bundle(self) -> None:
        """Writes the rest."""
        for output in list(self._rows):
            self._write(output)

    def _write(self, output: str) -> None:
        rows = self._rows.pop(output)
        vectors = np.stack([np.frombuffer(data, np.float32) for _, data in rows])
        slots = [str(work.slot) for work, _ in rows]
        path = Path(self._directory) / f"{output}-{uuid.uuid4().hex}"
        pq.write_table(to_table(slots, [work.content_hash for work, _ in rows], vectors), path)
        path.replace(path.with_suffix(".parquet"))


def _dead(work: Work, reason: str, detail: str) -> Any:
    shown = shown_uri(work.image)
    text = detail if shown in detail else f"{shown}: {detail}"
    kind = "item" if work.output == "items" else "query"
    return beam.pvalue.TaggedOutput(_DEAD, Reject(kind, work.key, work.output, 0, reason, text))


def _write_dead_letters(rejects: Sequence[Reject], *, path: str) -> None:
    ordered = sorted(rejects, key=lambda reject: (reject.source, reject.key))
    text = "".join(json.dumps(asdict(reject), sort_keys=True) + "\n" for reject in ordered)
    Path(path).write_text(text, encoding="utf-8")
