"""ScaNN behind the `Searcher` interface: the only module that imports it.

What it takes care of: ScaNN's TensorFlow ops are built against another TensorFlow, so TensorFlow
is hidden while ScaNN is imported; serialised paths are made relative; its pickled document ids are
never written and never read; short answers come back padded with -1 instead of with phantom hits;
an index with SOAR, in which ScaNN's own delete and update end the process, keeps tombstones.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from components.contracts.errors import InputError, LookalikeError
from components.search.searcher import (
    IndexParameters,
    Indices,
    Vectors,
    check_queries,
    empty_answer,
)

_ASSETS = "scann_assets.pbtxt"
_PICKLE = "scann_docids.pkl"
_POSITIONS = "positions.npy"
# Codes have 16 centres a block: more points to learn them from take longer and change nothing
# (recall within 0.0005 of that with 100,000 on 100,000 x 128, the building nearly twice as fast).
_CODE_SAMPLE = 20_000
# Points that ScaNN takes up at once; larger batches gain nothing.
_UPSERT_BATCH = 256


def _import_scann() -> ModuleType:
    """Imports ScaNN's numpy interface while TensorFlow is hidden."""
    hidden = sys.modules.get("tensorflow")
    # None makes `import tensorflow` raise ModuleNotFoundError, which ScaNN expects and handles.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("scann.scann_ops.py.scann_ops_pybind")
    except ImportError as error:
        raise LookalikeError(
            f"ScaNN cannot be imported ({error}); install lookalike[scann], or build the index "
            "with the backend brute_force"
        ) from error
    finally:
        if hidden is None:
            del sys.modules["tensorflow"]
        else:
            sys.modules["tensorflow"] = hidden


def missing() -> str:
    """Returns why ScaNN cannot be used here, in words; empty when it can."""
    try:
        _import_scann()
    except LookalikeError as error:
        return str(error)
    return ""


class ScannSearcher:
    """Approximate search by asymmetric hashing, with or without a tree of partitions."""

    def __init__(
        self,
        native: Any,
        parameters: IndexParameters,
        *,
        shape: tuple[int, int],
        positions: Indices | None = None,
    ) -> None:
        """Wraps ScaNN's own searcher; use `build` or `load`.

        Args:
            native: ScaNN's searcher.
            parameters: How it was built and how it searches.
            shape: Items and dimensions.
            positions: int64 `[native size]`: the position of each of ScaNN's points, -1 for a
                tombstone; None when they are the same.
        """
        self._native = native
        self._parameters = parameters
        self._shape = shape
        self._positions = positions

    @classmethod
    def build(cls, vectors: Vectors, parameters: IndexParameters) -> ScannSearcher:
        """Trains and builds; the caller (`components.search.searcher.build`) has checked."""
        scann = _import_scann()
        builder = scann.builder(np.ascontiguousarray(vectors), parameters.reorder, "dot_product")
        sample = min(len(vectors), parameters.training_sample)
        if parameters.backend == "tree_ah":
            soar = (
                {
                    "soar_lambda": parameters.soar_lambda,
                    "overretrieve_factor": parameters.overretrieve_factor,
                }
                if parameters.soar
                else {}
            )
            builder = builder.tree(
                num_leaves=parameters.leaves,
                num_leaves_to_search=parameters.leaves_to_search,
                training_sample_size=sample,
                min_partition_size=1,
                **soar,
            )
        reorder_type = importlib.import_module("scann.scann_ops.py.scann_builder").ReorderType
        builder = builder.score_ah(
            parameters.dimensions_per_block,
            anisotropic_quantization_threshold=parameters.anisotropic_threshold,
            training_sample_size=min(sample, _CODE_SAMPLE),
        ).reorder(
            parameters.reorder,
            quantize=reorder_type.BFLOAT16 if parameters.bfloat16_reorder else reorder_type.FLOAT32,
        )
        try:
            native = builder.build()
        except RuntimeError as error:
            raise LookalikeError(
                f"ScaNN cannot build the index ({error}); vectors: {list(vectors.shape)}, "
                f"parameters: {parameters}"
            ) from error
        return cls(native, parameters, shape=(int(vectors.shape[0]), int(vectors.shape[1])))

    @classmethod
    def load(
        cls, directory: Path, parameters: IndexParameters, *, shape: tuple[int, int]
    ) -> ScannSearcher:
        """Loads what `save` wrote, wherever the directory lies now.

        Raises:
            InputError: Files are missing, damaged or belong to other vectors, or the directory
                holds a pickle.
        """
        assets = directory / _ASSETS
        if (directory / _PICKLE).exists():
            raise InputError(f"{directory / _PICKLE}: pickles are never loaded; rebuild the index")
        if not assets.is_file():
            raise InputError(f"{assets}: expected ScaNN's files, found nothing there")
        scann = _import_scann()
        try:
            native = scann.ScannSearcher(
                scann.scann_pybind.ScannNumpy(str(directory), assets.read_text(encoding="utf-8"))
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{directory}: ScaNN cannot load the index ({error}); it is damaged or was "
                "written by another version: rebuild it"
            ) from None
        positions = _load_positions(directory / _POSITIONS, native.size())
        found = native.size() if positions is None else int(np.sum(positions >= 0))
        if found != shape[0]:
            raise InputError(
                f"{directory}: expected an index over {shape[0]} vectors, found {found}"
            )
        return cls(native, parameters, shape=shape, positions=positions)

    @property
    def parameters(self) -> IndexParameters:
        """How it was built and how it searches."""
        return self._parameters

    @property
    def shape(self) -> tuple[int, int]:
        """How many vectors are indexed, and their dimensions."""
        return self._shape

    def tuned(self, *, reorder: int, leaves_to_search: int) -> ScannSearcher:
        """Returns a searcher over the same index that searches with other settings."""
        parameters = replace(self._parameters, reorder=reorder, leaves_to_search=leaves_to_search)
        return ScannSearcher(self._native, parameters, shape=self._shape, positions=self._positions)

    def search(self, vectors: Vectors, k: int) -> tuple[Indices, Vectors]:
        """See `components.search.searcher.Searcher.search`."""
        check_queries(vectors, dim=self._shape[1], k=k)
        found = min(k, self._shape[0])
        indices, scores = self._search(
            vectors, found, self._parameters.reorder, self._parameters.leaves_to_search
        )
        # Few points in the partitions searched: an answer shorter than asked for, though more
        # points exist, is searched again in all of them.
        if self._parameters.backend == "tree_ah" and (indices[:, found - 1] < 0).any():
            short = np.flatnonzero(indices[:, found - 1] < 0)
            indices[short], scores[short] = self._search(
                vectors[short], found, self._shape[0], self._parameters.leaves
            )
        if found == k:
            return indices, scores
        all_indices, all_scores = empty_answer(len(vectors), k)
        all_indices[:, :found], all_scores[:, :found] = indices, scores
        return all_indices, all_scores

    def _search(
        self, vectors: Vectors, k: int, reorder: int, leaves: int
    ) -> tuple[Indices, Vectors]:
        """Returns `[queries, k]` positions and scores, padded, tombstones left out."""
        positions = self._positions
        if positions is None:
            return self._ask(vectors, k, reorder, leaves)
        size = len(positions)
        dead = size - self._shape[0]
        # As many more as there are tombstones among so many on average, and a few.
        fetch = min(size, k + min(dead, 8 + 2 * k * dead // size))
        while True:
            indices, scores = self._ask(vectors, fetch, reorder, leaves)
            found = np.where(indices >= 0, positions[np.maximum(indices, 0)], -1)
            # Stable: real hits keep their order, tombstones and padding go to the end.
            order = np.argsort(found < 0, axis=1, kind="stable")[:, :k]
            found = np.take_along_axis(found, order, axis=1)
            scores = np.where(found >= 0, np.take_along_axis(scores, order, axis=1), -np.inf)
            full = fetch >= min(size, k + dead)
            if full or not len(vectors) or (found[:, -1] >= 0).all():
                return found, scores.astype(np.float32)
            fetch = min(size, k + dead, 4 * fetch)

    def _ask(self, vectors: Vectors, k: int, reorder: int, leaves: int) -> tuple[Indices, Vectors]:
        """Returns `[queries, k]` of ScaNN's own positions and scores, padded."""
        # ScaNN returns at most as many neighbours as it reorders, without a word.
        width = max(reorder, k)
        leaves = leaves or -1
        if len(vectors) == 1:
            # The single-query call answers in a twentieth of the batched one's time.
            one, values = self._native.searcher.search(
                np.ascontiguousarray(vectors[0]), k, width, leaves
            )
            if len(one) == k:
                return one.astype(np.int64)[None], values[None]
            indices, scores = empty_answer(1, k)
            indices[0, : len(one)], scores[0, : len(one)] = one, values
            return indices, scores
        indices, scores = empty_answer(len(vectors), k)
        if len(vectors):
            many, values = self._native.search_batched(
                np.ascontiguousarray(vectors), k, width, leaves
            )
            # Padding is position 0 with a score that is not a number.
            real = ~np.isnan(values)
            indices[:, : many.shape[1]][real] = many[real]
            scores[:, : many.shape[1]][real] = values[real]
        return indices, scores

    def upserted(self, replaced: Indices, vectors: Vectors) -> ScannSearcher:
        """Takes replaced and added vectors up; `components.search.growing.upsert` has checked.

        Args:
            replaced: int64: the positions whose vectors are new.
            vectors: float32 `[items, dim]` as they are to be; those past the present ones are new.
        """
        items, dim = self._shape
        added = np.arange(items, len(vectors))
        shape = (len(vectors), dim)
        positions = self._tombstones()
        if positions is None:
            self._add([*replaced.tolist(), *[None] * len(added)], vectors[[*replaced, *added]])
            return ScannSearcher(self._native, self._parameters, shape=shape)
        positions[np.isin(positions, replaced)] = -1
        new = np.concatenate([replaced, added])
        self._add([None] * len(new), vectors[new])
        positions = np.concatenate([positions, new])
        return ScannSearcher(self._native, self._parameters, shape=shape, positions=positions)

    def deleted(self, gone: Sequence[int], order: Indices) -> ScannSearcher:
        """Takes vectors out; `components.search.growing.delete` has checked.

        Args:
            gone: The positions taken out.
            order: int64 `[items left]`: which old position stands where, the last in the gaps.
        """
        shape = (len(order), self._shape[1])
        positions = self._tombstones()
        if positions is None:
            # Highest first, as `order_after_delete` counts: ScaNN moves its last point each time.
            self._native.searcher.delete(sorted(gone, reverse=True))
            return ScannSearcher(self._native, self._parameters, shape=shape)
        now = np.full(self._shape[0], -1, np.int64)
        now[order] = np.arange(len(order))
        positions = np.where(positions >= 0, now[np.maximum(positions, 0)], -1)
        return ScannSearcher(self._native, self._parameters, shape=shape, positions=positions)

    def _tombstones(self) -> Indices | None:
        """Returns the positions to mark tombstones in; None where ScaNN itself can delete."""
        if self._positions is not None:
            return self._positions.copy()
        # Seen with ScaNN 1.4.2: update and delete end the process on an index with SOAR.
        return np.arange(self._shape[0]) if self._parameters.soar else None

    def _add(self, places: list[int | None], vectors: Vectors) -> None:
        if places:
            # Its own wrapper needs the document ids that it would pickle.
            self._native.searcher.upsert(places, np.ascontiguousarray(vectors), _UPSERT_BATCH)

    def save(self, directory: Path) -> None:
        """Writes ScaNN's files with relative paths into an existing directory."""
        self._native.serialize(str(directory), relative_path=True)
        if self._positions is not None:
            np.save(directory / _POSITIONS, self._positions, allow_pickle=False)


def _load_positions(path: Path, size: int) -> Indices | None:
    """Returns the positions of ScaNN's points, None where there is no such file.

    Raises:
        InputError: It does not belong to the index.
    """
    if not path.exists():
        return None
    try:
        positions = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a npy file of positions ({error})") from None
    live = positions[positions >= 0] if positions.dtype == np.int64 else None
    if (
        live is None
        or positions.shape != (size,)
        or not np.array_equal(np.sort(live), np.arange(len(live)))
    ):
        raise InputError(
            f"{path}: expected int64 [{size}] with each position once and -1 for tombstones, found "
            f"{positions.dtype} {list(positions.shape)}"
        )
    return np.asarray(positions)
