"""What a request asks, and what it is answered with, between the routes and the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from components.search.query import Found, Wanted
from serving.answers import PhotoQuery
from serving.engine import LoadedBundle

KEY_HEADER = "X-Lookalike-Key"
PHOTO_ROUTE = "/v1/search"
SIMILAR_ROUTE = "/v1/items/{item_id}/similar"
BATCH_ROUTE = "/v1/batch"


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way.

    Attributes:
        route: The route's template, for telemetry.
        deadline: When nobody waits for the answer any more, by `time.monotonic`.
    """

    route: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Photo:
    """An uploaded photo that passed its checks.

    Attributes:
        query: What the answer tells of it.
        admitted: The bytes that the encoder gets.
    """

    query: PhotoQuery
    admitted: bytes


class Question(NamedTuple):
    """What a request asks for, in its own words.

    Attributes:
        k: Most results.
        department: Id or name of a department; empty for all.
        taxon: Id of a node; empty for all.
        min_score: Smallest cosine.
        exclude_same_product: Whether the images of the query item's own product are left out.
    """

    k: int = 10
    department: str = ""
    taxon: str = ""
    min_score: float = -1.0
    exclude_same_product: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with the bundle that gave it.

    Attributes:
        bundle: The one bundle that everything in it comes from.
        position: Where the item that was asked about stands; -1 for a photo.
        wanted: What was asked for, in the bundle's terms.
        found: What was found.
        seconds: What finding it took.
    """

    bundle: LoadedBundle
    position: int
    wanted: Wanted
    found: Found
    seconds: float
