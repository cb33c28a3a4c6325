"""The page on which a curator decides about proposed nodes: each with pictures of its items."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.catalog.proposals import Candidate
from components.catalog.rows import resolve_image
from components.contracts import page
from components.contracts.images import BadImageError, ImageLimits, admit, read_image
from components.contracts.taxonomy import Taxonomy

# A thumbnail takes about 4 KB: the page stays under 2 MB.
_MOST_PICTURES = 400
_PICTURES_EACH = 8


def render(
    candidates: Sequence[Candidate],
    *,
    taxonomy: Taxonomy,
    images: Mapping[str, str],
    folder: Path,
    limits: ImageLimits,
) -> str:
    """Returns the page.

    Args:
        candidates: What enough of the crowd asks for.
        taxonomy: The tree as it is.
        images: Item id to its image as the catalog says.
        folder: The catalog's folder; images may not leave it.
        limits: Bounds for the images that are shown.
    """
    if not candidates:
        return page.page("Proposed nodes", "<p>No proposal passes the thresholds.</p>")
    parts = ["<p>Nothing has been added. What is right is appended to the taxonomy by you.</p>"]
    room = _MOST_PICTURES
    base = Path(os.path.realpath(folder))
    for one in candidates:
        above = taxonomy.names(one.parent_id) or taxonomy[one.parent_id].name
        siblings = [taxonomy[child].name for child in taxonomy.children(one.parent_id)]
        figures = []
        for item in one.examples[: min(_PICTURES_EACH, room)]:
            if source := _thumbnail(images.get(item, ""), base, limits):
                figures.append(page.figure(source, item))
        room -= len(figures)
        parts.append(
            f"<h2>{html.escape(f'{above} > {one.name}')}</h2><p>{one.workers:,} workers, "
            f"{one.items:,} items, {one.agreement:.0%} agree. "
            f"<span class=muted>Already there: {html.escape(', '.join(siblings[:30]) or 'nothing')}"
            f"</span></p>{page.sheet(figures)}"
            f"<p><code>{html.escape(f'{one.taxon_id},{one.parent_id},{one.name}')}</code></p>"
        )
    return page.page("Proposed nodes", "".join(parts))


def _thumbnail(image: str, folder: Path, limits: ImageLimits) -> str:
    try:
        path = resolve_image(image, folder)
        return page.thumbnail(admit(read_image(path, limits), limits))
    except BadImageError:
        return ""
