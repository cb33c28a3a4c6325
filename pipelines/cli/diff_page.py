"""The page that `lookalike index diff --html` writes: results of both versions, side by side."""

from __future__ import annotations

import html
from urllib.parse import quote

from components.contracts import page
from components.contracts.errors import LookalikeError
from components.contracts.images import BadImageError, admit, read_image
from components.registry.bundle_diff import BundleDiff, QueryChange, read_items
from components.registry.publish import bundle_key
from components.registry.registry import Registry

_MOST = 30


def render(registry: Registry, a: str, b: str, found: BundleDiff) -> str:
    """Returns a self-contained page.

    Args:
        registry: Where the bundles are.
        a: The version before.
        b: The version after.
        found: Their comparison.
    """
    images = read_items(registry, a) | read_items(registry, b)
    pictures = _Pictures(registry, images)
    changed = [query for query in found.queries if query.overlap < 1.0]
    # Those whose photo a bundle has kept come first: without it, nobody can tell better from worse.
    changed = sorted(changed, key=lambda query: query.image is None and query.kind != "item")
    changed = changed[:_MOST]
    mean = found.mean_overlap
    body = page.tiles(
        [
            ("-" if mean is None else f"{mean:.0%}", "overlap@10 of results"),
            (f"{len(found.queries)}", "shared queries"),
            (f"{len(found.added):,}", "items added"),
            (f"{len(found.removed):,}", "items removed"),
        ]
    )
    body += f"<p>A is <code>{html.escape(a)}</code>, B is <code>{html.escape(b)}</code>. "
    body += "Results that only one of both gives have a coloured frame.</p>"
    if found.parameters:
        rows = [(name, str(before), str(after)) for name, before, after in found.parameters]
        body += "<h2>Parameters that differ</h2>" + page.table(("name", "A", "B"), rows)
    if not changed:
        body += "<p>No shared query changed its results.</p>"
    else:
        body += "<h2>Queries whose results changed most</h2>"
    for query in changed:
        body += _section(query, pictures)
    if pictures.missing:
        body += (
            f"<p>{pictures.missing} picture(s) are grey: a bundle keeps a few of the query photos "
            "and none of the catalog's images, and the catalog's cannot all be read from here.</p>"
        )
    return page.page(f"{a} and {b}", body)


def _section(query: QueryChange, pictures: _Pictures) -> str:
    asked = pictures.query(query)
    head = f"<h3>{html.escape(query.query_id)}: {query.overlap:.0%} in common</h3>"
    rows = head + page.sheet([page.figure(asked, query.query_id, kind="query")])
    for label, results, others, kind in (
        ("A", query.before, query.after, "bad"),
        ("B", query.after, query.before, "good"),
    ):
        figures = [
            page.figure(pictures.item(item), item, kind="" if item in others else kind)
            for item in results
        ]
        rows += f"<p>{label}</p>" + page.sheet(figures)
    return f"<section>{rows}</section>"


class _Pictures:
    """Thumbnails of items and queries; each is read once, and counted when it cannot be."""

    def __init__(self, registry: Registry, images: dict[str, str]) -> None:
        self._registry = registry
        self._images = images
        self._known: dict[str, str] = {}
        self.missing = 0

    def item(self, item_id: str) -> str:
        """Returns a data URI."""
        if item_id not in self._known:
            self._known[item_id] = self._read(self._images.get(item_id, ""))
        return self._known[item_id]

    def query(self, query: QueryChange) -> str:
        """Returns a data URI of the query's photo, or of the item that was the query."""
        if query.image is None:
            return self.item(query.query_id)
        version, path = query.image
        try:
            data, _ = self._registry.store.read(bundle_key(version, path))
            return page.thumbnail(admit(data))
        except (LookalikeError, BadImageError):
            return self._blank()

    def _read(self, uri: str) -> str:
        try:
            return page.thumbnail(admit(read_image(uri)))
        except (LookalikeError, BadImageError, OSError, ValueError):
            return self._blank()

    def _blank(self) -> str:
        self.missing += 1
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="96" height="96">'
            '<rect width="96" height="96" fill="#ddd"/></svg>'
        )
        return "data:image/svg+xml," + quote(svg)
