"""What a run has to compute again: everything, or what changed since the live bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.contracts.catalog import Item
from components.contracts.errors import InputError

MODES = ("auto", "scratch", "warm", "reuse")


def resolve_mode(
    *,
    requested: str,
    items: Sequence[Item],
    live_items: Sequence[Mapping[str, str]] | None,
    taxonomy_changed: bool,
    max_changed_share: float,
) -> tuple[str, str]:
    """Decides the mode of a run.

    Args:
        requested: `scratch`, `warm` or `reuse`, which are obeyed, or `auto`.
        items: Today's checked items.
        live_items: The live bundle's items, each with `item_id` and `content_hash`; None when
            nothing is live.
        taxonomy_changed: Whether there are nodes that the live encoder was not trained for.
        max_changed_share: Largest share in [0, 1] of today's items, new or changed, for which
            `auto` still reuses the live encoder.

    Returns:
        The mode (`scratch`, `warm` or `reuse`) and the reason in words.

    Raises:
        InputError: The request is unknown, or it needs a live bundle and there is none.
    """
    if requested not in MODES:
        raise InputError(f"mode {requested!r}: expected {', '.join(MODES)}")
    if requested in ("warm", "reuse") and live_items is None:
        raise InputError(
            f"mode {requested!r}: expected a live bundle whose encoder can be used, but the "
            "channel is empty; run once with --mode scratch"
        )
    if requested != "auto":
        return requested, f"{requested} was asked for"
    if live_items is None:
        return "scratch", "nothing is live yet"
    if taxonomy_changed:
        return "scratch", "the taxonomy has nodes that the live encoder does not know"
    live = {(item["item_id"], item["content_hash"]) for item in live_items}
    changed = sum((item.item_id, item.content_hash) not in live for item in items)
    share = changed / len(items) if items else 0.0
    counted = f"{changed:,} of {len(items):,} items ({share:.1%}) are new or changed"
    if share <= max_changed_share:
        return "reuse", f"{counted}, at most {max_changed_share:.1%} are allowed for reuse"
    return "scratch", f"{counted}, more than the {max_changed_share:.1%} allowed for reuse"
