"""The encoders of a run: its own, and the incumbent's where both indexes are to be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.contracts.bundle import MANIFEST_FILE
from components.contracts.catalog import ITEMS_FILE, Item, Query, read_items
from components.contracts.encoder import EncoderCard, read_encoder
from components.contracts.errors import InputError
from components.contracts.files import read_json, sha256_bytes
from components.embed.config import EmbedConfig
from components.embed.known import Known
from components.embed.layout import Row
from components.embed.shards import Output
from components.registry.kept import Kept
from components.registry.object_store import ObjectStore
from components.search.searcher import VECTORS_FILE, load_vectors

ITEMS, QUERIES, QUERIES_INCUMBENT = "items", "queries", "queries_incumbent"
KIND = "embeddings"


@dataclass(frozen=True)
class Incumbent:
    """The live bundle as far as this step needs it.

    Attributes:
        bundle: Its directory.
        card: Its encoder.
        same_encoder: Whether this run uses the same one.
    """

    bundle: Path
    card: EncoderCard
    same_encoder: bool


def read_incumbent(bundle: Path | None, card: EncoderCard) -> Incumbent | None:
    """Returns the live bundle as this step sees it; None when nothing is live."""
    if bundle is None:
        return None
    live = read_encoder(bundle / "encoder")
    return Incumbent(bundle, live, same_encoder=live.digest == card.digest)


@dataclass(frozen=True)
class Encoder:
    """An encoder with what it has to embed.

    Attributes:
        path: The encoder artifact.
        card: What it says of itself.
        known: Its vectors that need not be computed.
        outputs: The folders of shards that it fills.
    """

    path: Path
    card: EncoderCard
    known: Known
    outputs: tuple[Output, ...]


def plan(
    items: Sequence[Item],
    queries: Sequence[Query],
    encoder: Path,
    card: EncoderCard,
    incumbent: Incumbent | None,
    config: EmbedConfig,
    store: ObjectStore | None,
    scratch: Path,
) -> list[Encoder]:
    """Finds out what has to be computed.

    Args:
        items: Today's items.
        queries: Today's photos.
        encoder: The run's encoder.
        card: What it says of itself.
        incumbent: The live bundle; None when nothing is live.
        config: The step's settings.
        store: The registry's store; None for nowhere.
        scratch: Directory for vectors and copies of kept shards.

    Returns:
        The run's encoder, and the incumbent's where that is another one and there are photos.
    """
    item_rows = [Row(item.item_id, item.content_hash) for item in items]
    query_rows = [Row(query.query_id, query.content_hash) for query in queries]
    item_images = [item.image for item in items]
    query_images = [query.image for query in queries]

    def make(path: Path, used: EncoderCard, wanted: Mapping[str, str]) -> Encoder:
        known = Known.open(
            _kept(store, used, config),
            dim=used.embedding_dim,
            outputs=list(wanted.values()),
            scratch=scratch / f"kept-{used.digest[:8]}",
        )
        if incumbent and incumbent.card.digest == used.digest:
            _add_index(known, incumbent, config)
        outputs = tuple(
            Output.plan(
                name,
                kept_as=kept_as,
                rows=item_rows if kept_as == ITEMS else query_rows,
                images=item_images if kept_as == ITEMS else query_images,
                known=known,
                dim=used.embedding_dim,
                rows_per_shard=config.rows_per_shard,
                scratch=scratch,
            )
            for name, kept_as in wanted.items()
        )
        return Encoder(path, used, known, outputs)

    own = {ITEMS: ITEMS, QUERIES: QUERIES} if queries else {ITEMS: ITEMS}
    found = [make(encoder, card, own)]
    if queries and incumbent and not incumbent.same_encoder:
        found.append(
            make(incumbent.bundle / "encoder", incumbent.card, {QUERIES_INCUMBENT: QUERIES})
        )
    return found


def _kept(store: ObjectStore | None, card: EncoderCard, config: EmbedConfig) -> Kept | None:
    if store is None:
        return None
    key = sha256_bytes(f"{card.digest} {config.limits_key}".encode())
    return Kept(store, kind=KIND, key=key[:32])


def _add_index(known: Known, incumbent: Incumbent, config: EmbedConfig) -> None:
    """Adds the live index, unless its images were let in by other bounds than today's."""
    path = incumbent.bundle / MANIFEST_FILE
    lineage = read_json(path).get("lineage", {}) if path.exists() else {}
    # Bundles from before this was written down were made within the bounds of the defaults.
    if lineage.get("image_limits", EmbedConfig().limits_key) != config.limits_key:
        return
    vectors = load_vectors(incumbent.bundle)
    items = read_items(incumbent.bundle / ITEMS_FILE)
    if vectors.shape != (len(items), incumbent.card.embedding_dim):
        raise InputError(
            f"{incumbent.bundle}: expected {len(items)} vectors of "
            f"{incumbent.card.embedding_dim} dimensions, found {list(vectors.shape)}"
        )
    known.add_index(incumbent.bundle / VECTORS_FILE, [item.content_hash for item in items])
