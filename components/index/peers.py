"""Other approximate searchers behind one small interface, to compare with on the same vectors.

All of them come with the extra `benchmark`; each is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from components.contracts.errors import LookalikeError
from components.index import space
from components.search import searcher as search
from components.search.searcher import (
    ExactSearcher,
    IndexParameters,
    Indices,
    Searcher,
    Vectors,
)

# A setting of searching, by name; what it holds is the system's own affair.
Setting = Mapping[str, int]


class System(Protocol):
    """A searcher that can be built once and searched with several settings."""

    def build(self, vectors: Vectors, threads: int) -> None:
        """Indexes float32 `[items, dim]` unit vectors by dot product."""
        ...

    def settings(self) -> list[Setting]:
        """Returns what to measure."""
        ...

    def prepare(self, setting: Setting) -> None:
        """Makes the following searches use a setting."""
        ...

    def search(self, queries: Vectors, k: int) -> Indices:
        """Returns positions `[queries, k]`, nearest first, on one thread."""
        ...


class Exact:
    """Exact search with numpy: what everything is measured against."""

    def build(self, vectors: Vectors, threads: int) -> None:
        """See `System.build`."""
        del threads
        self._searcher = ExactSearcher(vectors)

    def settings(self) -> list[Setting]:
        """There is nothing to set."""
        return [{}]

    def prepare(self, setting: Setting) -> None:
        """There is nothing to set."""

    def search(self, queries: Vectors, k: int) -> Indices:
        """See `System.search`."""
        return self._searcher.search(queries, k)[0]


class Lookalike:
    """Our own searcher, with the wrapper's checks, as it is served."""

    def __init__(
        self, parameters: IndexParameters | None = None, built: Searcher | None = None
    ) -> None:
        """Takes the parameters to build with, or a searcher that is built."""
        self._parameters = parameters
        self._searcher: Any = built

    def build(self, vectors: Vectors, threads: int) -> None:
        """See `System.build`; ScaNN uses every core whatever `threads` says."""
        del threads
        if self._searcher is None:
            assert self._parameters is not None
            self._searcher = search.build(vectors, self._parameters)
        self._base = self._searcher

    def settings(self) -> list[Setting]:
        """Partitions to scan and vectors to score again; its own setting first."""
        parameters = self._searcher.parameters
        if parameters.backend == "brute_force":
            return [{}]
        items = self._searcher.shape[0]
        # All of a large tree is as slow as a scan of everything, and is nobody's choice.
        counts = space.leaf_counts(parameters)
        own = {"leaves": parameters.leaves_to_search, "reorder": parameters.reorder}
        others = [
            setting
            for leaves in (counts[:-2] if len(counts) > 3 else counts)
            for width in (20, 30, *space.reorder_widths(items, 10)[:-1])
            if (setting := {"leaves": leaves, "reorder": width}) != own
        ]
        return [own, *others]

    def prepare(self, setting: Setting) -> None:
        """See `System.prepare`."""
        if setting:
            self._searcher = self._base.tuned(
                reorder=setting["reorder"], leaves_to_search=setting["leaves"]
            )

    def search(self, queries: Vectors, k: int) -> Indices:
        """See `System.search`."""
        found: Indices = self._searcher.search(queries, k)[0]
        return found


class Hnswlib:
    """A navigable graph; M=16, efConstruction=200 (Malkov and Yashunin, arXiv:1603.09320)."""

    def build(self, vectors: Vectors, threads: int) -> None:
        """See `System.build`."""
        module = _module("hnswlib")
        self._index = module.Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(
            max_elements=len(vectors), M=16, ef_construction=200, random_seed=100
        )
        self._index.add_items(vectors, num_threads=threads)
        self._index.set_num_threads(1)

    def settings(self) -> list[Setting]:
        """How many candidates are kept while walking."""
        return [{"ef": ef} for ef in (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 400, 800)]

    def prepare(self, setting: Setting) -> None:
        """See `System.prepare`."""
        self._index.set_ef(setting["ef"])

    def search(self, queries: Vectors, k: int) -> Indices:
        """See `System.search`."""
        return np.asarray(self._index.knn_query(queries, k=k, num_threads=1)[0], np.int64)


class Faiss:
    """Partitions with 4-bit product quantisation and exact reordering (`IVF,PQ4fs,RFlat`)."""

    def build(self, vectors: Vectors, threads: int) -> None:
        """See `System.build`."""
        faiss = self._faiss = _module("faiss")
        faiss.omp_set_num_threads(threads)
        items, dim = vectors.shape
        partitions = max(1, min(items // 40, round(2 * math.sqrt(items))))
        factory = f"IVF{partitions},PQ{dim // 2}x4fs,RFlat"
        self._index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        rng = np.random.default_rng(0)
        sample = rng.permutation(items)[: max(100_000, 40 * partitions)]
        self._index.train(vectors[np.sort(sample)])
        self._index.add(vectors)
        faiss.omp_set_num_threads(1)
        self._partitions = partitions

    def settings(self) -> list[Setting]:
        """Partitions to scan, and vectors to score again as multiples of k."""
        shares = (0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
        probes = sorted({max(1, round(self._partitions * share)) for share in shares})
        return [{"nprobe": one, "k_factor": two} for one in probes for two in (3, 6, 10, 20, 40)]

    def prepare(self, setting: Setting) -> None:
        """See `System.prepare`."""
        self._index.k_factor = setting["k_factor"]
        self._faiss.downcast_index(self._index.base_index).nprobe = setting["nprobe"]

    def search(self, queries: Vectors, k: int) -> Indices:
        """See `System.search`."""
        return np.asarray(self._index.search(queries, k)[1], np.int64)


class Usearch:
    """Another navigable graph, with its library's defaults."""

    def build(self, vectors: Vectors, threads: int) -> None:
        """See `System.build`."""
        module = _module("usearch.index")
        self._index = module.Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=16,
            expansion_add=128,
        )
        self._index.add(np.arange(len(vectors), dtype=np.uint64), vectors, threads=threads)

    def settings(self) -> list[Setting]:
        """How many candidates are kept while walking."""
        return [{"expansion": ef} for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 400, 800)]

    def prepare(self, setting: Setting) -> None:
        """See `System.prepare`."""
        self._index.expansion_search = setting["expansion"]

    def search(self, queries: Vectors, k: int) -> Indices:
        """See `System.search`."""
        keys = self._index.search(queries, k, threads=1).keys
        return np.asarray(keys, np.int64).reshape(len(queries), -1)


# What it is called, the module that it needs, and how it is made.
PEERS: dict[str, tuple[str, Callable[[], System]]] = {
    "hnswlib": ("hnswlib", Hnswlib),
    "faiss": ("faiss", Faiss),
    "usearch": ("usearch", Usearch),
}


def installed() -> list[str]:
    """Returns the peers whose packages are there."""
    return [name for name, (module, _) in PEERS.items() if find_spec(module) is not None]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LookalikeError(
            f"{name} cannot be imported ({error}); install lookalike[benchmark]"
        ) from error
