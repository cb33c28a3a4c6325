"""From a directory to a bundle that may answer: every check that comes before the swap."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

from components.contracts.bundle import MANIFEST_FILE, Manifest, read_manifest, verify
from components.contracts.catalog import ITEMS_FILE, TAXONOMY_FILE
from components.contracts.encoder import read_encoder
from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes, sha256_file
from components.contracts.taxonomy import Taxonomy
from components.search import searcher as search
from components.search.neighbours import PLAIN, NeighbourTable
from components.search.query import Limits
from components.search.retrieval import ITEM_IDS_FILE
from components.search.searcher import Vectors
from serving import golden
from serving.encoder import SAVED_MODEL, Encode, Encoder, import_tensorflow
from serving.engine import LoadedBundle
from serving.item_table import ItemTable

_MOST_PROBLEMS_SHOWN = 3


class Loader:
    """Loads bundles, and keeps one encoder for all that hold the same one.

    A daily run that reuses the live encoder publishes the same files again; loading them a second
    time would take seconds and twice the memory.
    """

    def __init__(self) -> None:
        """Starts with no encoder."""
        self._encoders: WeakValueDictionary[str, Encoder] = WeakValueDictionary()

    def __call__(self, directory: Path, *, verified: str = "") -> LoadedBundle:
        """Loads a bundle, checks it whole and warms it up.

        Checks the SHA-256 of every file; that encoder, taxonomy, items and vectors are the ones
        the manifest names; that the golden queries get their recorded answers, and the golden
        photos their recorded vectors.

        Args:
            directory: The bundle.
            verified: SHA-256 of the manifest whose sums this process has just compared with the
                files, so that nothing is read twice; empty for a bundle that nobody looked at.

        Raises:
            InputError: Any of it fails; nothing of the bundle is used then.
        """
        timings: dict[str, float] = {}
        with _timed(timings, "sums"):
            manifest = read_manifest(directory)
            digest = sha256_file(directory / MANIFEST_FILE)
            if digest != verified:
                _check_sums(directory, manifest)
        with _timed(timings, "items"):
            items = _read_items(directory)
            taxonomy = Taxonomy.read(directory / TAXONOMY_FILE)
        with _timed(timings, "index"):
            searcher = search.load(directory)
            vectors = search.load_vectors(directory)
            _check_parts(directory, manifest, vectors, len(items))
            neighbours = NeighbourTable.load(directory, len(items))
        with _timed(timings, "tensorflow"):
            import_tensorflow()
        with _timed(timings, "encoder"):
            encode = self._encoder(directory, manifest)
        bundle = LoadedBundle(
            manifest=manifest,
            digest=digest,
            taxonomy=taxonomy,
            items=items,
            vectors=vectors,
            searcher=searcher,
            encode=encode,
            timings=timings,
            neighbours=neighbours,
        )
        with _timed(timings, "golden"):
            queries = golden.read(directory)
            bundle.search_seconds = golden.check_answers(
                lambda vector, k: bundle.find(vector, Limits(k=k)), items, queries
            )
            _check_neighbours(bundle)
            if not golden.check_encoder(encode, queries):
                _warm_up(encode)
        return bundle

    def _encoder(self, directory: Path, manifest: Manifest) -> Encoder:
        files = {
            path: entry.sha256
            for path, entry in sorted(manifest.files.items())
            if path.startswith(f"{SAVED_MODEL}/")
        }
        key = sha256_bytes(json.dumps([manifest.embedding_dim, files]).encode())
        encoder = self._encoders.get(key)
        if encoder is None:
            encoder = Encoder(directory, dim=manifest.embedding_dim)
            self._encoders[key] = encoder
        return encoder


def load(directory: Path) -> LoadedBundle:
    """Loads one bundle; see `Loader`."""
    return Loader()(directory)


def _check_sums(directory: Path, manifest: Manifest) -> None:
    problems = verify(directory, manifest)
    if problems:
        more = len(problems) - _MOST_PROBLEMS_SHOWN
        raise InputError(
            f"bundle {manifest.version} is damaged: "
            + "; ".join(problems[:_MOST_PROBLEMS_SHOWN])
            + (f"; and {more} more" if more > 0 else "")
        )


def _read_items(directory: Path) -> ItemTable:
    items = ItemTable(directory / ITEMS_FILE)
    path = directory / ITEM_IDS_FILE
    try:
        item_ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a npy file of item ids ({error})") from None
    if item_ids.tolist() != items.ids:
        raise InputError(
            f"{path}: expected the ids of items.jsonl in the same order; the files are of "
            "different builds"
        )
    return items


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - started


def _check_parts(directory: Path, manifest: Manifest, vectors: Vectors, items: int) -> None:
    """Refuses a bundle whose parts were not built together.

    Raises:
        InputError: A part is not the one that the manifest names.
    """
    expected = (manifest.items, manifest.embedding_dim)
    if vectors.shape != expected or items != expected[0]:
        raise InputError(
            f"bundle {manifest.version}: the manifest says {expected[0]} items of {expected[1]} "
            f"dimensions, the index holds {list(vectors.shape)}, items.jsonl {items}"
        )
    taxonomy_digest = sha256_file(directory / TAXONOMY_FILE)
    if taxonomy_digest != manifest.taxonomy_digest:
        raise InputError(
            f"bundle {manifest.version}: taxonomy.csv is not the one that the manifest names"
        )
    card = read_encoder(directory / "encoder")
    if (card.digest, card.embedding_dim) != (manifest.encoder_digest, manifest.embedding_dim):
        raise InputError(
            f"bundle {manifest.version}: the index was built with the encoder "
            f"{manifest.encoder_digest[:12]} of {manifest.embedding_dim} dimensions, the bundle "
            f"holds {card.digest[:12]} of {card.embedding_dim}"
        )


def _check_neighbours(bundle: LoadedBundle) -> None:
    def limits(position: int) -> Limits:
        return bundle.limits(PLAIN, position)

    golden.check_neighbours(
        lambda position: bundle.known(limits(position)),
        lambda position: bundle.find(bundle.vector(position), limits(position)),
        bundle.items,
    )


def _warm_up(encode: Encode) -> None:
    """Embeds a made picture: no shopper waits for first-use work where no photo was kept."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 200, 200)).save(buffer, format="PNG")
    encode([buffer.getvalue()])
