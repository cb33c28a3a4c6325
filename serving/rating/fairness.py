"""How work is shared out so that no rater gives too large a part of the labels.

The gate refuses a campaign in which one rater gave more than a quarter. With a small panel that
is easily reached by accident: when the three fastest of five rate the first pairs among
themselves, three quarters are theirs, and the last quarter of the pairs has two raters left for
three ratings each. So who is ahead of the others leaves the last rating of a pair to those behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence


def left_to(
    rater_id: str, given: Mapping[str, int], *, each: int, most_share: float
) -> tuple[str, ...]:
    """Returns the raters to whom a rater leaves the last rating of a pair; empty for none.

    It is asked of those ahead alone, while they are too few to end the campaign among themselves,
    and while those behind are too few to end it after them.

    Args:
        rater_id: Who asks for work.
        given: Live ratings so far of everybody at work, that rater among them.
        each: Ratings of a pair.
        most_share: The largest share of the labels that one rater may give.
    """
    if not given or rater_id not in given:
        return ()
    fair = sum(given.values()) / len(given)
    if given[rater_id] <= fair:
        return ()
    behind = tuple(sorted(name for name, count in given.items() if count < fair))
    ahead = sum(count > fair for count in given.values())
    if len(behind) < each and ahead * most_share <= 1.0:
        return behind
    return ()


def keeps_last(
    task: str,
    missing: int,
    others: Sequence[str],
    answered: Callable[[str], Collection[str]],
) -> bool:
    """Returns whether a pair's only free rating stays with those behind.

    Args:
        task: The pair.
        missing: Ratings that nobody has given or holds.
        others: What `left_to` returned.
        answered: What a rater has answered: nobody waits for who cannot rate the pair again.
    """
    return missing <= 1 and any(task not in answered(name) for name in others)


def raters_short(
    open_pairs: Mapping[str, int],
    room: Mapping[str, int],
    answered: Callable[[str], Collection[str]],
    *,
    counted: int,
    least: int,
    quota: int,
) -> int:
    """Returns how many more raters it takes to rate everything that is open.

    Args:
        open_pairs: Ratings still needed, by pair.
        room: Ratings that each rater at work may still give under the largest share.
        answered: What a rater has answered: nobody rates a pair twice.
        counted: Raters whose labels count.
        least: Raters that the gate demands.
        quota: Ratings that a new rater may give.
    """
    missing = sum(open_pairs.values())
    able = 0
    for name, free in room.items():
        seen = answered(name)
        able += min(free, sum(task not in seen for task in open_pairs))
    each = max(1, min(quota, len(open_pairs)))
    return max(0, least - counted, math.ceil((missing - able) / each) if missing else 0)
