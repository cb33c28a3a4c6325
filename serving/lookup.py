"""From a request's words to a bundle's terms: where an item stands, which node a filter means."""

from __future__ import annotations

from components.contracts.catalog import Item
from components.contracts.errors import InputError
from components.search.query import Wanted
from serving.engine import LoadedBundle
from serving.problems import Problem, shorten
from serving.question import Question


def position(bundle: LoadedBundle, item_id: str) -> int:
    """Returns where an item stands in a bundle.

    Raises:
        Problem: 404: the bundle does not hold it. 410: it is withdrawn.
    """
    found = bundle.items.position(item_id)
    if found is None:
        raise Problem(
            404,
            "unknown_item",
            f"item {shorten(item_id)!r} is not among the {bundle.manifest.items} items of "
            f"version {bundle.version}",
        )
    if found in bundle.withdrawn:
        raise Problem(410, "withdrawn", f"item {shorten(item_id)!r} is withdrawn")
    return found


def item(bundle: LoadedBundle, item_id: str) -> Item:
    """Returns an item.

    Raises:
        Problem: As `position`.
    """
    return bundle.items[position(bundle, item_id)]


def wanted(bundle: LoadedBundle, question: Question) -> Wanted:
    """Returns what a request asks for, in terms of a bundle.

    Raises:
        Problem: 422: the bundle's taxonomy has no such department or taxon.
    """
    try:
        taxon_id = bundle.taxa.resolve(question.department, question.taxon)
    except InputError as error:
        raise Problem(422, "unknown_taxon", f"{error} (version {bundle.version})") from None
    return Wanted(question.k, taxon_id, question.min_score, question.exclude_same_product)
