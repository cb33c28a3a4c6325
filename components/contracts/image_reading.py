"""Reading the images of a checked catalog ahead of what works on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from components.contracts.files import sha256_bytes
from components.contracts.images import (
    BadImageError,
    ImageLimits,
    admit,
    is_remote,
    plain_jpeg,
    read_image,
)
from components.contracts.web_addresses import shown_uri

_THREADS = 4
# So many local images one thread reads at a stretch: handing them over one by one costs more than
# reading them, as every handover is a fight for the interpreter's lock. Images elsewhere are waited
# for, so those go one by one.
_PORTION = 16


class Listed(Protocol):
    """What names an image and says what its bytes were when the catalog was checked."""

    @property
    def image(self) -> str:
        """Where the image lies."""

    @property
    def content_hash(self) -> str:
        """SHA-256 of its bytes."""


# Why there is no image: a reason and its details.
Refusal = tuple[str, str]
_ListedT = TypeVar("_ListedT", bound=Listed)


def read_ahead(
    listed: Iterable[_ListedT], limits: ImageLimits, *, ahead: int
) -> Iterator[tuple[_ListedT, bytes | Refusal]]:
    """Reads and admits images with a few threads, while the caller works on those before.

    Args:
        listed: What names the images; taken as it is needed.
        limits: Bounds on the images.
        ahead: How many images may lie read in memory, about.

    Yields:
        Each of them, in order, with bytes that the preprocessing graph decodes, or with a reason
        and details why there are none.
    """
    waiting: deque[tuple[list[_ListedT], Future[list[bytes | Refusal]]]] = deque()
    count = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for portion in _portions(listed):
            waiting.append((portion, pool.submit(_admit_all, portion, limits)))
            count += len(portion)
            while count >= ahead and waiting:
                first, future = waiting.popleft()
                count -= len(first)
                yield from zip(first, future.result(), strict=True)
        for first, future in waiting:
            yield from zip(first, future.result(), strict=True)


def _portions(listed: Iterable[_ListedT]) -> Iterator[list[_ListedT]]:
    portion: list[_ListedT] = []
    for one in listed:
        if is_remote(one.image):
            if portion:
                yield portion
            yield [one]
            portion = []
            continue
        portion.append(one)
        if len(portion) == _PORTION:
            yield portion
            portion = []
    if portion:
        yield portion


def _admit_all(listed: Sequence[Listed], limits: ImageLimits) -> list[bytes | Refusal]:
    return [_admitted(one, limits) for one in listed]


def _admitted(listed: Listed, limits: ImageLimits) -> bytes | Refusal:
    try:
        data = read_image(listed.image, limits)
        if sha256_bytes(data) != listed.content_hash:
            return (
                "changed_image",
                f"{shown_uri(listed.image)}: expected the bytes that the catalog step saw, "
                "found others; run the catalog step again",
            )
        # Most catalogs are plain JPEGs, which `admit` would decode only to return them as they
        # are: the graph decodes them anyway, and the one that it cannot is found alone.
        return data if plain_jpeg(data, limits) else admit(data, limits)
    except BadImageError as error:
        return error.reason, str(error)
    # Whatever a hostile file does to a decoder, it must not end the job for the others.
    except Exception as error:
        return "undecodable_image", f"{shown_uri(listed.image)}: {error!r}"
