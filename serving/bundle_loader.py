"""From a directory to a bundle that may answer: every check that comes before the swap."""

from __future__ import annotations

import io
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from components.contracts.bundle import MANIFEST_FILE, Manifest, read_manifest, verify
from components.contracts.catalog import TAXONOMY_FILE
from components.contracts.encoder import read_encoder
from components.contracts.errors import InputError
from components.contracts.files import sha256_file
from components.contracts.taxonomy import Taxonomy
from components.search.retrieval import BundleIndex
from serving import golden
from serving.encoder import Encode, Encoder, import_tensorflow
from serving.engine import LoadedBundle

_MOST_PROBLEMS_SHOWN = 3


def load(directory: Path) -> LoadedBundle:
    """Loads a bundle, checks it whole and warms it up.

    Checks the SHA-256 of every file; that encoder, taxonomy, items and vectors are the ones the
    manifest names; that the golden queries get their recorded answers, and the golden photos
    their recorded vectors.

    Raises:
        InputError: Any of it fails; nothing of the bundle is used then.
    """
    timings: dict[str, float] = {}
    with _timed(timings, "sums"):
        manifest = read_manifest(directory)
        problems = verify(directory, manifest)
        if problems:
            more = len(problems) - _MOST_PROBLEMS_SHOWN
            raise InputError(
                f"bundle {manifest.version} is damaged: "
                + "; ".join(problems[:_MOST_PROBLEMS_SHOWN])
                + (f"; and {more} more" if more > 0 else "")
            )
    with _timed(timings, "index"):
        index = BundleIndex.load(directory)
        taxonomy = Taxonomy.read(directory / TAXONOMY_FILE)
        _check_parts(directory, manifest, index)
    with _timed(timings, "tensorflow"):
        import_tensorflow()
    with _timed(timings, "encoder"):
        encode = Encoder(directory, dim=manifest.embedding_dim)
    with _timed(timings, "golden"):
        queries = golden.read(directory)
        golden.check_answers(index, queries)
        if not golden.check_encoder(encode, queries):
            _warm_up(encode)
    views: dict[str, list[int]] = defaultdict(list)
    for row, item in enumerate(index.items):
        views[item.product_id].append(row)
    return LoadedBundle(
        manifest=manifest,
        digest=sha256_file(directory / MANIFEST_FILE),
        taxonomy=taxonomy,
        index=index,
        views={product: tuple(rows) for product, rows in views.items()},
        encode=encode,
        timings=timings,
    )


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - started


def _check_parts(directory: Path, manifest: Manifest, index: BundleIndex) -> None:
    """Refuses a bundle whose parts were not built together.

    Raises:
        InputError: A part is not the one that the manifest names.
    """
    expected = (manifest.items, manifest.embedding_dim)
    if index.vectors.shape != expected:
        raise InputError(
            f"bundle {manifest.version}: the manifest says {expected[0]} items of {expected[1]} "
            f"dimensions, the index holds {list(index.vectors.shape)}"
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


def _warm_up(encode: Encode) -> None:
    """Embeds a made picture: no shopper waits for first-use work where no photo was kept."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 200, 200)).save(buffer, format="PNG")
    encode([buffer.getvalue()])
