"""What moved: the page that the pipeline's UI shows on promote."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.contracts import page
from components.contracts.bundle import Manifest
from components.contracts.errors import LookalikeError
from components.contracts.verdict import Verdict, to_html
from components.promote.promote import PromotionOutcome
from components.registry import publish
from components.registry.registry import Registry

_MOST_TYPES = 12
# What the manifest's figures are called here; one that is not listed keeps its own name.
_FIGURES = {
    "golden_images": "golden photos",
    "golden_queries": "golden queries",
    "index_memory_mb": "searcher's memory, MB",
    "query_cpu_ms": "a search's CPU time, ms",
    "query_p50_ms": "a search, median ms",
    "query_p95_ms": "a search, p95 ms",
    "recall_at_10": "recall@10 against exact search",
    "recall_lower": "its lower bound",
}


@dataclass(frozen=True)
class Movement:
    """What differs between the version before and the candidate.

    Attributes:
        added: Items only in the candidate.
        removed: Items only in the version before.
        changed: Items in both whose picture differs.
        same: Items in both with the same picture.
        by_type: Leaf of the taxonomy with (before, after), the largest difference first; only
            leaves whose number of items differs.
    """

    added: int
    removed: int
    changed: int
    same: int
    by_type: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class _Item:
    content_hash: str
    taxon_id: str


def movement(registry: Registry, before: str, after: str) -> Movement:
    """Compares the items of two versions.

    Raises:
        LookalikeError: The list of items of one of them cannot be read.
    """
    old = _items(registry, before) if before else {}
    new = _items(registry, after)
    both = old.keys() & new.keys()
    changed = sum(old[item].content_hash != new[item].content_hash for item in both)
    counts = [Counter(item.taxon_id for item in items.values()) for items in (old, new)]
    types = sorted(
        ((taxon, counts[0][taxon], counts[1][taxon]) for taxon in counts[0] | counts[1]),
        key=lambda row: (-abs(row[2] - row[1]), row[0]),
    )
    return Movement(
        added=len(new.keys() - both),
        removed=len(old.keys() - both),
        changed=changed,
        same=len(both) - changed,
        by_type=tuple(row for row in types if row[1] != row[2]),
    )


def _items(registry: Registry, version: str) -> dict[str, _Item]:
    key = publish.bundle_key(version, "items.jsonl")
    data, _ = registry.store.read(key)
    try:
        rows = (json.loads(line) for line in data.splitlines() if line.strip())
        return {
            str(row["item_id"]): _Item(
                str(row.get("content_hash", "")), str(row.get("taxon_id") or "no type")
            )
            for row in rows
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LookalikeError(
            f"{key}: expected a JSON object with item_id a line ({error})"
        ) from None


def render(
    registry: Registry, outcome: PromotionOutcome, *, channel: str, verdicts: Sequence[Verdict]
) -> str:
    """Returns the page. What cannot be read is said on it; nothing here stops a promotion.

    Args:
        registry: Holds both versions.
        outcome: What became of the promotion.
        channel: The channel.
        verdicts: The verdicts to show, in the order of the gates.
    """
    version, before = outcome.version, outcome.previous
    if before == version:
        # Live already: what it replaced is of interest, not a comparison with itself.
        before = _replaced(registry, channel, version)
    body = [f'<p class="muted">Channel <code>{html.escape(channel)}</code> in registry '
            f"<code>{html.escape(registry.uri)}</code></p>"]  # fmt: skip
    if outcome.reasons:
        body.append("".join(["<ul>", *(f"<li>{html.escape(r)}</li>" for r in outcome.reasons),
                             "</ul>"]))  # fmt: skip
    try:
        moved = movement(registry, before, version)
        body.append(_figures(moved))
        body.append("<h2>Before and after</h2>")
        body.append(_side_by_side(_manifest(registry, before), _manifest(registry, version)))
        if before and moved.by_type:
            shown = moved.by_type[:_MOST_TYPES]
            body.append("<h2>Types whose number of items changed</h2>")
            body.append(page.table(("type", "before", "after", "difference"),
                                   [(t, b, a, f"{a - b:+d}") for t, b, a in shown]))  # fmt: skip
            if len(moved.by_type) > _MOST_TYPES:
                body.append(f'<p class="muted">and {len(moved.by_type) - _MOST_TYPES} more</p>')
    except LookalikeError as error:
        body.append(f"<p>The versions cannot be compared: {html.escape(str(error))}</p>")
    if outcome.outcome == "promoted" and before:
        command = (
            f"lookalike index rollback --registry {registry.uri} --channel {channel} --reason '...'"
        )
        body.append(f"<h2>Back to before</h2><p><code>{html.escape(command)}</code></p>")
    body.extend(to_html(verdict) for verdict in verdicts)
    return page.page(headline(outcome, channel), "".join(body))


def headline(outcome: PromotionOutcome, channel: str) -> str:
    """Returns the outcome in one line."""
    live = outcome.previous or "nothing"
    return {
        "promoted": f"Promoted: {outcome.version} is live on {channel}, after {live}",
        "unchanged": f"Unchanged: {outcome.version} was live on {channel} already",
        "refused": f"Refused: {outcome.version}; {live} stays live on {channel}",
    }[outcome.outcome]


def _replaced(registry: Registry, channel: str, version: str) -> str:
    """Returns what was live before a live version was promoted; empty when nothing was."""
    for move in registry.channel(channel).held:
        if move.to == version and move.previous != version:
            return move.previous
    return ""


def _manifest(registry: Registry, version: str) -> Manifest | None:
    return registry.manifest(version)[0] if version else None


def _figures(moved: Movement) -> str:
    return page.tiles(
        [
            (f"{moved.added:,}", "items added"),
            (f"{moved.removed:,}", "items removed"),
            (f"{moved.changed:,}", "items with a new picture"),
            (f"{moved.same:,}", "items as they were"),
        ]
    )


def _side_by_side(before: Manifest | None, after: Manifest | None) -> str:
    def column(manifest: Manifest | None) -> Mapping[str, str]:
        if manifest is None:
            return {}
        size = sum(entry.size for entry in manifest.files.values())
        return {
            "version": manifest.version,
            "built": manifest.created.replace("T", " ")[:16] + " UTC",
            "mode": manifest.mode,
            "items": f"{manifest.items:,}",
            "encoder": manifest.encoder_digest[:12],
            "taxonomy": manifest.taxonomy_digest[:12],
            "index": str(manifest.index.get("backend", "")),
            "size": f"{size / 2**20:,.1f} MiB",
            **{
                _FIGURES.get(key, key): f"{value:.4g}"
                for key, value in sorted(manifest.metrics.items())
            },
        }

    old, new = column(before), column(after)
    names = [*new, *(name for name in old if name not in new)]
    rows = [(name, old.get(name, "-"), new.get(name, "-")) for name in names]
    return page.table(("", "before", "after"), rows)
