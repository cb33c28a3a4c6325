"""The embed step's page: what was reused and what was new, norms, spread and drift."""

from __future__ import annotations

import html
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts import page
from components.contracts.catalog import Item, Reject
from components.contracts.embeddings import Embeddings, Vectors
from components.contracts.images import BadImageError, ImageLimits, admit, read_image
from components.contracts.taxonomy import Taxonomy

# A thumbnail takes about 4 KB; with these bounds the page stays well under 2 MB.
_PICTURES = 48
_DEAD_SHOWN = 50
_PAIRS = 20_000
_BINS = 40
_WIDTH, _HEIGHT, _MARGIN = 640, 220, 30


@dataclass(frozen=True)
class Before:
    """The incumbent, for comparison.

    Attributes:
        vectors: float32 `[items, dim]`: its index's vectors.
        same_encoder: Whether its encoder is the one that is used now.
        items: Its items by id, each with the hash of its image.
    """

    vectors: Vectors
    same_encoder: bool
    items: Mapping[str, str]


def render(
    *,
    items: Sequence[Item],
    taxonomy: Taxonomy,
    embedded: Embeddings,
    computed: frozenset[str],
    figures: Mapping[str, float],
    dead: Sequence[Reject],
    before: Before | None,
    limits: ImageLimits,
    notes: Sequence[str] = (),
) -> str:
    """Returns the page.

    Args:
        items: The checked items.
        taxonomy: The checked taxonomy.
        embedded: The items' vectors.
        computed: Ids of the items that were computed, the others were taken over.
        figures: What `summary.json` says.
        dead: The images that came to nothing.
        before: The incumbent; None when there is none.
        limits: Bounds for the images that are shown.
        notes: What else to say: what was computed and why, shards that could not be kept.
    """
    parts = [
        _tiles(figures),
        f"<p>{html.escape(_how(before, figures))}</p>",
        *(f'<p class="muted">{html.escape(note)}</p>' for note in notes),
        "<h2>By department</h2>",
        _departments(items, taxonomy, embedded, computed, before),
        "<h2>How alike two items are</h2>",
        _spread(embedded.vectors, before),
        "<h2>New and changed images</h2>",
        _new(items, taxonomy, computed, before, limits),
        "<h2>Set aside</h2>",
        _dead(dead),
    ]
    return page.page("Embeddings", "".join(parts))


def _tiles(figures: Mapping[str, float]) -> str:
    tiles = [
        (f"{figures['items']:,.0f}", "items with a vector"),
        (f"{figures['queries']:,.0f}", "shopper photos"),
        (f"{figures['reused']:,.0f}", "vectors taken over"),
        (
            f"{figures.get('reused_shards', 0):,.0f} of {figures.get('shards', 0):,.0f}",
            "shards taken over as they were",
        ),
        (
            f"{figures.get('reused_photos', 0):,.0f} of "
            f"{figures.get('photos', figures['queries']):,.0f}",
            "photos not computed again",
        ),
        (f"{figures['computed']:,.0f}", "vectors computed"),
        (f"{figures['images_per_second']:,.0f}", "images a second"),
        (f"{figures['dead_letters']:,.0f}", "images set aside"),
        (f"{figures['norm_min']:.6f} to {figures['norm_max']:.6f}", "norms of the vectors"),
    ]
    if "drift" in figures:
        tiles.append((f"{figures['drift']:.2g}", "drift of the catalog's centre, 1 - cosine"))
    return page.tiles(tiles)


def _how(before: Before | None, figures: Mapping[str, float]) -> str:
    if before is None:
        if figures["reused"]:
            return "Nothing is live; an earlier run with this encoder had computed some already."
        return "Nothing is live: every vector was computed."
    if before.same_encoder:
        return "The encoder is the live one: only new and changed images were computed."
    how = "every vector was computed"
    if figures["reused"]:
        how = "what an earlier run with it had computed was taken over"
    return (
        f"The encoder is not the live one: {how}, and the photos by both "
        "encoders, so that both indexes can be asked. Vectors of two encoders cannot be compared: "
        "there is no drift to tell."
    )


def _departments(
    items: Sequence[Item],
    taxonomy: Taxonomy,
    embedded: Embeddings,
    computed: frozenset[str],
    before: Before | None,
) -> str:
    row_of = {key: row for row, key in enumerate(embedded.ids)}
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[taxonomy.department(item.taxon_id)].append(item)
    centre = embedded.vectors.mean(axis=0, dtype=np.float64)
    rows: list[tuple[object, ...]] = []
    for department in (*taxonomy.departments, taxonomy.root):
        group = groups.get(department, [])
        if not group:
            continue
        known = [row_of[item.item_id] for item in group if item.item_id in row_of]
        states = Counter(_state(item, computed, before) for item in group)
        name = taxonomy[department].name if department != taxonomy.root else "(no label)"
        own = embedded.vectors[known].mean(axis=0, dtype=np.float64) if known else centre
        rows.append(
            (
                name,
                len(group),
                states["taken over"],
                states["new"],
                states["changed"],
                len(group) - len(known),
                float(np.linalg.norm(own)),
                _cosine(own, centre),
            )
        )
    columns = (
        "department",
        "items",
        "taken over",
        "new",
        "changed",
        "without a vector",
        "tightness",
        "cosine to the catalog's centre",
    )
    return (
        page.table(columns, rows)
        + '<p class="muted">Tightness is the length of the mean vector: 1 where all items of a '
        "department look the same to the encoder, near 0 where they have nothing in common.</p>"
    )


def _state(item: Item, computed: frozenset[str], before: Before | None) -> str:
    if item.item_id not in computed:
        return "taken over"
    if before is None or item.item_id not in before.items:
        return "new"
    return "changed" if before.items[item.item_id] != item.content_hash else "computed again"


def _cosine(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else 0.0


def _spread(vectors: Vectors, before: Before | None) -> str:
    """Returns a histogram of cosines between two items drawn at random, now and before."""
    now = _pair_cosines(vectors)
    then = _pair_cosines(before.vectors) if before else np.empty(0)
    if not len(now):
        return "<p>One item is not enough to compare.</p>"
    means = f"On average {now.mean():.3f}"
    if len(then):
        means += f", in the live version {then.mean():.3f} (the line)"
    return (
        f"<p>{means}. An encoder that has collapsed puts everything at the right end.</p>"
        + histogram(now, then)
    )


def _pair_cosines(vectors: Vectors) -> npt.NDArray[np.float64]:
    count = len(vectors)
    if count < 2:
        return np.empty(0)
    rng = np.random.default_rng(0)
    first = rng.integers(0, count, _PAIRS)
    # Another item, whichever is drawn: an offset that is never a whole turn.
    second = (first + rng.integers(1, count, _PAIRS)) % count
    cosines = np.einsum("ij,ij->i", vectors[first], vectors[second], dtype=np.float64)
    return np.asarray(np.clip(cosines, -1.0, 1.0))


def histogram(now: npt.NDArray[np.float64], then: npt.NDArray[np.float64]) -> str:
    """Returns an SVG: bars for the cosines now, a line for those before; equal areas."""
    edges = np.linspace(-1.0, 1.0, _BINS + 1)
    shares = np.histogram(now, edges)[0] / len(now)
    old = np.histogram(then, edges)[0] / len(then) if len(then) else np.zeros(_BINS)
    top = max(float(shares.max()), float(old.max()))
    wide = (_WIDTH - 2 * _MARGIN) / _BINS
    base = _HEIGHT - _MARGIN

    def y(share: float) -> float:
        return base - share / top * (base - 12)

    bars = "".join(
        f'<rect x="{_MARGIN + wide * n:.1f}" y="{y(share):.1f}" width="{wide - 1:.1f}" '
        f'height="{base - y(share):.1f}" fill="var(--accent)"/>'
        for n, share in enumerate(shares)
    )
    line = ""
    if len(then):
        points = " ".join(
            f"{_MARGIN + wide * (n + 0.5):.1f},{y(share):.1f}" for n, share in enumerate(old)
        )
        line = f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="2"/>'
    texts = "".join(
        f'<text x="{_MARGIN + (value + 1) / 2 * (_WIDTH - 2 * _MARGIN):.1f}" y="{_HEIGHT - 8}" '
        f'text-anchor="middle">{value:g}</text>'
        for value in (-1.0, -0.5, 0.0, 0.5, 1.0)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" font-size="12" '
        f'fill="currentColor"><title>Cosines between two items</title>{bars}{line}{texts}</svg>'
    )


def _new(
    items: Sequence[Item],
    taxonomy: Taxonomy,
    computed: frozenset[str],
    before: Before | None,
    limits: ImageLimits,
) -> str:
    fresh = [item for item in items if _state(item, computed, before) in ("new", "changed")]
    if not fresh:
        return "<p>None: the catalog's images are those of the live version.</p>"
    # Spread over the catalog: the first rows of a table are of one kind in most catalogs.
    places = np.linspace(0, len(fresh) - 1, min(_PICTURES, len(fresh))).astype(int)
    figures = []
    for item in (fresh[place] for place in places):
        if source := _thumbnail(item.image, limits):
            name = taxonomy[item.taxon_id].name if item.taxon_id in taxonomy else item.taxon_id
            state = _state(item, computed, before)
            figures.append(page.figure(source, f"{item.item_id}: {name}, {state}"))
    shown = f"{len(fresh):,} items" + (f", {len(figures)} of them" if figures else "")
    return f"<p>{shown}.</p>" + page.sheet(figures)


def _dead(dead: Sequence[Reject]) -> str:
    if not dead:
        return "<p>Every image came to a vector.</p>"
    counts = Counter(reject.reason for reject in dead)
    counted = page.table(("reason", "images"), counts.most_common())
    listed = page.table(
        ("id", "reason", "detail"),
        [(reject.key, reject.reason, reject.detail) for reject in dead[:_DEAD_SHOWN]],
    )
    more = len(dead) - _DEAD_SHOWN
    return (
        counted + listed + (f"<p>And {more:,} more in dead_letters.jsonl.</p>" if more > 0 else "")
    )


def _thumbnail(image: str, limits: ImageLimits) -> str:
    try:
        return page.thumbnail(admit(read_image(image, limits), limits))
    except BadImageError:
        return ""
