"""ScaNN behind the `Searcher` interface: the only module that imports it.

What it takes care of: ScaNN's TensorFlow ops are built against another TensorFlow, so TensorFlow
is hidden while ScaNN is imported; serialised paths are made relative; its pickled document ids are
never written and never read; short answers come back padded with -1 instead of with phantom hits.
"""

from __future__ import annotations

import importlib
import sys
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


class ScannSearcher:
    """Approximate search by asymmetric hashing, with or without a tree of partitions."""

    def __init__(self, native: Any, parameters: IndexParameters, *, shape: tuple[int, int]) -> None:
        """Wraps ScaNN's own searcher; use `build` or `load`."""
        self._native = native
        self._parameters = parameters
        self._shape = shape

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
            training_sample_size=sample,
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
        if native.size() != shape[0]:
            raise InputError(
                f"{directory}: expected an index over {shape[0]} vectors, found {native.size()}"
            )
        return cls(native, parameters, shape=shape)

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
        return ScannSearcher(self._native, parameters, shape=self._shape)

    def search(self, vectors: Vectors, k: int) -> tuple[Indices, Vectors]:
        """See `components.search.searcher.Searcher.search`."""
        check_queries(vectors, dim=self._shape[1], k=k)
        found = min(k, self._shape[0])
        indices, scores = self._search(
            vectors, found, self._parameters.reorder, self._parameters.leaves_to_search
        )
        # Few points in the partitions searched: an answer shorter than asked for, though more
        # points exist, is searched again in all of them.
        short = np.flatnonzero(indices[:, found - 1] < 0) if found else np.empty(0, np.int64)
        if len(short) and self._parameters.backend == "tree_ah":
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
        # ScaNN returns at most as many neighbours as it reorders, without a word.
        width = max(reorder, k)
        leaves = leaves or -1
        indices, scores = empty_answer(len(vectors), k)
        if len(vectors) == 1:
            # The single-query call answers in a twentieth of the batched one's time.
            one, values = self._native.search(np.ascontiguousarray(vectors[0]), k, width, leaves)
            indices[0, : len(one)], scores[0, : len(one)] = one, values
        elif len(vectors):
            many, values = self._native.search_batched(
                np.ascontiguousarray(vectors), k, width, leaves
            )
            # Padding is position 0 with a score that is not a number.
            real = ~np.isnan(values)
            indices[:, : many.shape[1]][real] = many[real]
            scores[:, : many.shape[1]][real] = values[real]
        return indices, scores

    def save(self, directory: Path) -> None:
        """Writes ScaNN's files with relative paths into an existing directory."""
        self._native.serialize(str(directory), relative_path=True)
