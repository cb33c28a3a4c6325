"""The part of the catalog's report that shows copies of one picture beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from components.catalog.duplicates import across_products, counts
from components.contracts import page
from components.contracts.catalog import Item, Query
from components.contracts.near_duplicates import NearDuplicates

# About 4 KB a picture.
_GROUPS, _EACH = 12, 4


def section(
    found: NearDuplicates,
    items: Sequence[Item],
    photos: Sequence[Query],
    thumbnail: Callable[[str], str],
) -> str:
    """Returns the section's HTML.

    Args:
        found: The copies.
        items: The checked items.
        photos: The shopper photos, also those that were left out.
        thumbnail: Gives the picture of an image, empty where it cannot be shown.
    """
    by_id = {item.item_id: item for item in items}
    figures = counts(found, by_id)
    if not figures["items"] and not figures["photos"]:
        return "<p>No image is a copy of another one.</p>"
    across = across_products(found, by_id)
    parts = [
        f"<p>{figures['items']:,} items have an image of which another item has a copy: the same "
        "picture, perhaps recompressed, resized or a little lighter. "
        f"{figures['groups_across_products']:,} of the {figures['groups']:,} groups go across "
        f"products: these {figures['products']:,} products stand on the same side of the split "
        "between trained and unseen ones.</p>",
        *(_sheet([by_id[one] for one in group], thumbnail) for group in across[:_GROUPS]),
        _more(len(across) - _GROUPS, "groups"),
    ]
    if found.queries:
        taken = {photo.query_id: photo for photo in photos}
        parts.append(
            f"<p>{figures['photos']:,} shopper photos are copies of catalog images. Finding them "
            "proves nothing: they are left out of the evaluation.</p>"
        )
        parts += [
            page.sheet(
                page.figure(source, caption, kind=kind)
                for image, caption, kind in (
                    (taken[query].image, f"photo {query}", "query"),
                    (by_id[item].image, f"{item} ({by_id[item].product_id})", ""),
                )
                if (source := thumbnail(image))
            )
            for query, item in found.queries[:_GROUPS]
        ]
        parts.append(_more(len(found.queries) - _GROUPS, "photos"))
    return "".join(parts)


def _sheet(group: Sequence[Item], thumbnail: Callable[[str], str]) -> str:
    # One of each product first: what is to be seen is why products were joined.
    first: Mapping[str, Item] = {item.product_id: item for item in reversed(group)}
    shown = [*first.values(), *(item for item in group if first[item.product_id] != item)][:_EACH]
    return page.sheet(
        page.figure(source, f"{item.item_id} ({item.product_id})")
        for item in shown
        if (source := thumbnail(item.image))
    )


def _more(count: int, what: str) -> str:
    return f"<p>And {count:,} more {what} in near_duplicates.json.</p>" if count > 0 else ""
