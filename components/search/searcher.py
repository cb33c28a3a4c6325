"""Nearest neighbours by dot product over unit vectors: one interface, exact or approximate.

The exact searcher needs numpy alone. It is the oracle that approximate ones are measured against,
and what serves small catalogs. The approximate one lives in `components.search.scann_backend`,
the only module that imports ScaNN; it is imported when an index asks for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json

Vectors = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Backend = Literal["brute_force", "ah", "tree_ah"]

BACKENDS: tuple[Backend, ...] = get_args(Backend)
CONFIG_FILE = "index/config.json"
VECTORS_FILE = "index/vectors.npy"
SCANN_DIRECTORY = "index/scann"
# Quantisation learns 16 centres a block and trees split the points: fewer cannot be trained.
MIN_QUANTISED_POINTS = 16
# float32 rounding over thousands of dimensions stays well below this.
_NORM_TOLERANCE = 1e-3
# Scores held at once by exact search, in float32 values (64 MiB), and of how many items: reading
# a large catalog once for a few hundred queries, not for each.
_EXACT_BLOCK = 16 * 1024 * 1024
_EXACT_ITEMS = 64 * 1024


@dataclass(frozen=True)
class IndexParameters:
    """How an index is built and searched.

    Attributes:
        backend: `brute_force` (exact), `ah` (quantised scan) or `tree_ah` (quantised scan of the
            nearest partitions).
        leaves: Partitions of the tree; 0 without a tree.
        leaves_to_search: Partitions scanned for a query; 0 without a tree.
        reorder: How many of the best quantised scores are scored again exactly.
        dimensions_per_block: Dimensions that share one 4-bit code.
        anisotropic_threshold: Score above which quantisation errors along the vector weigh more,
            in [0, 1] for unit vectors (Guo et al., ICML 2020, arXiv:1908.10396).
        soar: Whether each point is kept in a second partition too (Sun et al., NeurIPS 2023,
            arXiv:2404.00774); only with a tree.
        soar_lambda: Weight of orthogonality in choosing that second partition.
        overretrieve_factor: How many more candidates SOAR fetches to make up for doubles.
        bfloat16_reorder: Whether the exact scores use bfloat16 (half the memory).
        training_sample: Most points that partitions are trained on.
    """

    backend: Backend = "brute_force"
    leaves: int = 0
    leaves_to_search: int = 0
    reorder: int = 100
    dimensions_per_block: int = 2
    anisotropic_threshold: float = 0.2
    soar: bool = False
    soar_lambda: float = 1.5
    overretrieve_factor: float = 1.8
    bfloat16_reorder: bool = False
    training_sample: int = 100_000

    def __post_init__(self) -> None:
        """Refuses combinations that the backend would misread."""
        if self.backend not in BACKENDS:
            raise InputError(
                f"index backend {self.backend!r}: expected one of {', '.join(BACKENDS)}"
            )
        if self.backend == "tree_ah" and not 1 <= self.leaves_to_search <= self.leaves:
            raise InputError(
                f"index: expected 1 <= leaves_to_search <= leaves for a tree, received "
                f"leaves_to_search={self.leaves_to_search}, leaves={self.leaves}"
            )
        if self.soar and self.backend != "tree_ah":
            raise InputError(f"index: soar needs the backend tree_ah, received {self.backend}")
        if self.reorder < 1 or self.dimensions_per_block < 1:
            raise InputError(
                "index: expected reorder and dimensions_per_block of at least 1, received "
                f"{self.reorder} and {self.dimensions_per_block}"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, source: str = CONFIG_FILE) -> IndexParameters:
        """Reads the JSON form.

        Raises:
            InputError: A field is unknown or a value cannot be used.
        """
        unknown = sorted(set(value) - {entry.name for entry in fields(cls)})
        if unknown:
            raise InputError(
                f"{source}: unknown field {unknown[0]!r}; a newer lookalike may have written it"
            )
        return cls(**value)


class Searcher(Protocol):
    """What finds the nearest vectors."""

    @property
    def parameters(self) -> IndexParameters:
        """How it was built and how it searches."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors are indexed, and their dimensions."""
        ...

    def search(self, vectors: Vectors, k: int) -> tuple[Indices, Vectors]:
        """Finds the `k` nearest indexed vectors of each query.

        Args:
            vectors: float32 `[queries, dim]`, unit norm.
            k: How many neighbours; more than there are vectors is allowed.

        Returns:
            int64 `[queries, k]` positions in the index, nearest first, padded with -1, and
            float32 `[queries, k]` scores (dot products), padded with -inf.

        Raises:
            InputError: The queries have another dimension, are not finite or not of unit norm.
        """
        ...

    def save(self, directory: Path) -> None:
        """Writes what the searcher needs beyond the vectors into an empty directory."""
        ...


class ExactSearcher:
    """Scores every vector; the vectors may be memory-mapped."""

    def __init__(self, vectors: Vectors) -> None:
        """Keeps the vectors, which the caller has checked.

        Args:
            vectors: float32 `[items, dim]`, unit norm.
        """
        self._vectors = vectors
        self._parameters = IndexParameters(backend="brute_force")

    @property
    def parameters(self) -> IndexParameters:
        """Always the brute-force backend."""
        return self._parameters

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors are indexed, and their dimensions."""
        return int(self._vectors.shape[0]), int(self._vectors.shape[1])

    def search(self, vectors: Vectors, k: int) -> tuple[Indices, Vectors]:
        """See `Searcher.search`; equal scores are ordered by position."""
        check_queries(vectors, dim=self.shape[1], k=k)
        items = self.shape[0]
        found = min(k, items)
        indices, scores = empty_answer(len(vectors), k)
        step = min(items, max(found, _EXACT_ITEMS))
        rows = max(1, _EXACT_BLOCK // step)
        for start in range(0, len(vectors), rows):
            asked = vectors[start : start + rows]
            best, values = _best_of(np.asarray(asked @ self._vectors[:step].T), found)
            for first in range(step, items, step):
                block = np.asarray(asked @ self._vectors[first : first + step].T)
                _take_better(best, values, block, first)
            indices[start : start + len(best), :found] = best
            scores[start : start + len(best), :found] = values
        return indices, scores

    def save(self, directory: Path) -> None:
        """Writes nothing: the bundle's vectors are all that exact search needs."""
        del directory


def _best_of(block: Vectors, found: int) -> tuple[Indices, Vectors]:
    """Returns the `found` best columns of each row, best first, and their scores."""
    items = block.shape[1]
    if found < items:
        best = np.argpartition(block, items - found, axis=1)[:, items - found :]
    else:
        best = np.broadcast_to(np.arange(items), block.shape)
    values = np.take_along_axis(block, best, axis=1)
    # Of scores that tie for the last place, the partition keeps any: keep the first.
    last = values.min(axis=1, keepdims=True)
    tied = np.sum(block == last, axis=1) > np.sum(values == last, axis=1)
    for row in np.flatnonzero(tied):
        near = np.flatnonzero(block[row] >= last[row])
        near = near[np.argsort(-block[row, near], kind="stable")[:found]]
        best[row], values[row] = near, block[row, near]
    order = np.lexsort((best, -values), axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)


def _take_better(best: Indices, values: Vectors, block: Vectors, first: int) -> None:
    """Puts columns of a later block in place of worse ones; equal scores do not displace."""
    rows, columns = np.nonzero(block > values[:, -1:])
    if not len(rows):
        return
    bounds = np.flatnonzero(np.diff(rows)) + 1
    for row, near in zip(rows[np.r_[0, bounds]], np.split(columns, bounds), strict=True):
        together = np.concatenate([values[row], block[row, near]])
        order = np.argsort(-together, kind="stable")[: len(values[row])]
        best[row] = np.concatenate([best[row], near + first])[order]
        values[row] = together[order]


def empty_answer(queries: int, k: int) -> tuple[Indices, Vectors]:
    """Returns an answer without neighbours: -1 and -inf in `[queries, k]`."""
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32)


def check_vectors(
    vectors: npt.NDArray[Any],
    ids: Sequence[str] | None = None,
    *,
    minimum: int = 1,
    source: str = "vectors",
) -> None:
    """Checks what is to be indexed; one NaN row would abort the whole process inside ScaNN.

    Args:
        vectors: float32 `[items, dim]`, unit norm.
        ids: One a row, unique; None when rows have no names yet.
        minimum: Fewest rows.
        source: What to call them in errors.

    Raises:
        InputError: With the first ids at fault.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise InputError(
            f"{source}: expected float32 [items, dim], received {vectors.dtype} "
            f"{list(vectors.shape)}"
        )
    if ids is not None and len(ids) != len(vectors):
        raise InputError(
            f"{source}: expected one id a row, received {len(ids)} ids for {len(vectors)} rows"
        )
    if len(vectors) < minimum or vectors.shape[1] < 1:
        raise InputError(
            f"{source}: expected at least {minimum} rows of at least one dimension, received "
            f"{len(vectors)} rows of {vectors.shape[1]}"
        )
    repeated = [key for key, count in Counter(ids or ()).items() if count > 1]
    if repeated:
        raise InputError(f"{source}: ids are unique, received twice: {', '.join(repeated[:5])}")
    bad = np.flatnonzero(~unit_rows(vectors))
    if len(bad):
        row = int(bad[0])
        name = repr(ids[row]) if ids else f"row {row}"
        raise InputError(
            f"{source}: expected finite vectors of norm 1, received {len(bad)} that are not, "
            f"first {name} with norm {float(np.linalg.norm(vectors[row])):.4g}"
        )


def check_queries(vectors: npt.NDArray[Any], *, dim: int, k: int) -> None:
    """Checks query vectors; see `Searcher.search`.

    Raises:
        InputError: They cannot be searched with.
    """
    if k < 1:
        raise InputError(f"search: expected k of at least 1, received {k}")
    if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] != dim:
        raise InputError(
            f"search: expected float32 [queries, {dim}], received {vectors.dtype} "
            f"{list(vectors.shape)}; were the queries embedded by another encoder?"
        )
    if len(vectors) == 1:
        # One query is the path of requests: the same test in a fifth of the time.
        row = vectors[0]
        if abs(float(row.dot(row)) - 1.0) <= _NORM_TOLERANCE:
            return
    bad = np.flatnonzero(~unit_rows(vectors))
    if len(bad):
        raise InputError(
            f"search: expected finite vectors of norm 1, received {len(bad)} that are not, "
            f"first in row {int(bad[0])}"
        )


def unit_rows(vectors: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Returns bool `[rows]`: which rows are finite and of norm 1 up to float32 rounding."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    # A comparison with NaN is False, so that rows with NaN or infinities fall out here too.
    return np.asarray(np.abs(norms - 1.0) <= _NORM_TOLERANCE)


def build(vectors: Vectors, parameters: IndexParameters) -> Searcher:
    """Builds a searcher.

    Args:
        vectors: float32 `[items, dim]`, unit norm.
        parameters: The backend and its settings.

    Raises:
        InputError: The vectors cannot be indexed, or are too few for the backend.
    """
    minimum = 1 if parameters.backend == "brute_force" else MIN_QUANTISED_POINTS
    check_vectors(vectors, minimum=minimum)
    if parameters.backend == "brute_force":
        return ExactSearcher(vectors)
    from components.search.scann_backend import ScannSearcher  # noqa: PLC0415

    return ScannSearcher.build(vectors, parameters)


def memory_bytes(parameters: IndexParameters, items: int, dim: int) -> int:
    """Returns what a searcher with these parameters keeps in memory, in bytes.

    Counted: the vectors that exact scores come from, the 4-bit codes, the partitions' centres and
    each point's partitions. ScaNN's own bookkeeping comes to a few per cent more.

    Args:
        parameters: How it is built.
        items: Vectors indexed.
        dim: Dimensions of a vector.
    """
    if parameters.backend == "brute_force":
        return items * dim * 4
    stored = dim * (2 if parameters.bfloat16_reorder else 4)
    blocks = math.ceil(dim / parameters.dimensions_per_block)
    codes = math.ceil(blocks / 2)
    places = 0
    if parameters.backend == "tree_ah":
        places = 2 if parameters.soar else 1
    return items * (stored + codes * max(1, places) + 4 * places) + parameters.leaves * dim * 4


def save(searcher: Searcher, vectors: Vectors, bundle: Path) -> None:
    """Writes vectors, configuration and searcher into a bundle directory."""
    path = bundle / VECTORS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.ascontiguousarray(vectors, dtype=np.float32), allow_pickle=False)
    save_searcher(searcher, bundle)


def save_searcher(searcher: Searcher, bundle: Path) -> None:
    """Writes configuration and searcher into a bundle directory that holds the vectors."""
    if searcher.parameters.backend != "brute_force":
        directory = bundle / SCANN_DIRECTORY
        directory.mkdir(parents=True)
        searcher.save(directory)
    sizes: Sequence[int] | None = getattr(searcher, "sizes", None)
    write_config(bundle, searcher.parameters, shape=searcher.shape, shards=sizes)


def write_config(
    bundle: Path,
    parameters: IndexParameters,
    *,
    shape: tuple[int, int],
    shards: Sequence[int] | None = None,
) -> None:
    """Writes what `load` needs to know.

    Args:
        bundle: The bundle's directory.
        parameters: How the index was built and searches.
        shape: Items and dimensions.
        shards: The sizes of the shards; None for an index in one piece.
    """
    config: dict[str, Any] = {
        "items": shape[0],
        "dim": shape[1],
        "parameters": parameters.to_json(),
    }
    if shards is not None:
        config["shards"] = list(shards)
    write_json(bundle / CONFIG_FILE, config)


def load_vectors(bundle: Path) -> Vectors:
    """Returns a bundle's vectors, memory-mapped: float32 `[items, dim]`.

    Raises:
        InputError: The file is missing or is not a float32 matrix.
    """
    path = bundle / VECTORS_FILE
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a npy file of vectors ({error})") from None
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise InputError(
            f"{path}: expected float32 [items, dim], found {vectors.dtype} {list(vectors.shape)}"
        )
    # A plain view of the map: np.memmap's own bookkeeping slows every small operation.
    return np.asarray(vectors)


def load(bundle: Path, *, resident: bool = True) -> Searcher:
    """Loads a bundle's searcher; the caller has checked the bundle's sums.

    Args:
        bundle: The bundle's directory.
        resident: Whether all shards of an index in shards stay in memory; when not, each search
            loads one after the other, which a build that has memory for one of them does.

    Raises:
        InputError: Files are missing, or do not belong together.
    """
    path = bundle / CONFIG_FILE
    config = read_json(path)
    if not isinstance(config, dict) or not {"items", "dim", "parameters"} <= set(config):
        raise InputError(f"{path}: expected the fields items, dim and parameters")
    parameters = IndexParameters.from_json(config["parameters"], source=str(path))
    vectors = load_vectors(bundle)
    expected = (config["items"], config["dim"])
    if vectors.shape != expected:
        raise InputError(
            f"{bundle / VECTORS_FILE}: expected {list(expected)} as index/config.json says, found "
            f"{list(vectors.shape)}"
        )
    if parameters.backend == "brute_force":
        return ExactSearcher(vectors)
    directory = bundle / SCANN_DIRECTORY
    sizes = config.get("shards")
    if sizes is not None:
        if not isinstance(sizes, list) or not sizes or sum(sizes) != config["items"]:
            raise InputError(
                f"{path}: expected shards of {config['items']} vectors in all, found {sizes}"
            )
        from components.search.sharded import load_shards  # noqa: PLC0415

        return load_shards(directory, parameters, sizes, dim=config["dim"], resident=resident)
    from components.search.scann_backend import ScannSearcher  # noqa: PLC0415

    return ScannSearcher.load(directory, parameters, shape=vectors.shape)
