"""Finding an item by words of its title or its id: for people who look for something to start from.

It reads the items' file from the start, in pieces between which other threads get their turn, and
stops when it has found enough or has taken long enough. Nothing is indexed for it.
"""

from __future__ import annotations

import json
import time

from serving.item_table import ItemTable

_PIECE = 1 << 20


def find_items(items: ItemTable, words: str, *, limit: int, seconds: float = 0.5) -> list[int]:
    """Returns the positions of items that have every word in their id, product or title.

    Of several images of one product, the first that is found stands for all.

    Args:
        items: The items.
        words: What was typed; upper and lower case are alike.
        limit: Most positions.
        seconds: Longest time to look.
    """
    wanted = words.casefold().split()
    if not wanted:
        return []
    end = time.monotonic() + seconds
    # The longest word is the rarest one: the others are only looked for where it stands.
    longest = max(wanted, key=len)
    needles = {
        written.encode().lower()
        for word in (longest, longest.capitalize(), longest.upper())
        for written in (word, json.dumps(word)[1:-1])
    }
    reach = max(len(needle) for needle in needles)
    found: dict[int, int] = {}
    for start in range(0, items.size, _PIECE):
        piece = items.text(start, start + _PIECE + reach).lower()
        for needle in needles:
            place = piece.find(needle)
            while place >= 0 and time.monotonic() < end:
                position = items.line_at(start + place)
                product = int(items.products[position])
                if product not in found and _has(items, position, wanted):
                    found[product] = position
                    if len(found) >= limit:
                        return sorted(found.values())
                place = piece.find(needle, _end_of_line(piece, place))
        if time.monotonic() > end:
            break
    return sorted(found.values())


def _end_of_line(piece: bytes, place: int) -> int:
    end = piece.find(b"\n", place)
    return end if end >= 0 else len(piece)


def _has(items: ItemTable, position: int, wanted: list[str]) -> bool:
    item = items[position]
    text = f"{item.item_id} {item.product_id} {item.title}".casefold()
    return all(word in text for word in wanted)
