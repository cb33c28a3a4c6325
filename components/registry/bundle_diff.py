"""What differs between two bundles: parameters, figures, items, and what queries get."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from components.contracts.bundle import Manifest
from components.contracts.errors import LookalikeError
from components.contracts.verdict import Check
from components.registry import publish
from components.registry.object_store import ObjectNotFoundError
from components.registry.registry import Registry

_CUTOFF = 10


@dataclass(frozen=True)
class QueryChange:
    """One golden query that both bundles were asked when they were built.

    Attributes:
        query_id: The query.
        overlap: Share of the first ten results that both have, in [0, 1].
        before: Item ids that A answered, best first.
        after: Item ids that B answered.
        image: The query's photo in bundle B or A, as (version, path); None when neither kept it.
        kind: `shopper` or `item`.
    """

    query_id: str
    overlap: float
    before: tuple[str, ...]
    after: tuple[str, ...]
    image: tuple[str, str] | None
    kind: str


@dataclass(frozen=True)
class Figure:
    """One figure in both bundles, with its bounds where a gate gave any.

    Attributes:
        name: Such as `offline: leaf_precision_at_10 (all)`.
        before: Value, lower and upper bound in A; None where there is none.
        after: The same in B.
    """

    name: str
    before: tuple[float | None, float | None, float | None]
    after: tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class BundleDiff:
    """See the module.

    Attributes:
        parameters: Name, value in A, value in B, for what differs.
        figures: Every figure that either has.
        items: How many items A and B have.
        added: Ids only B has, sorted.
        removed: Ids only A has, sorted.
        queries: Shared queries, the most changed first.
    """

    parameters: tuple[tuple[str, Any, Any], ...]
    figures: tuple[Figure, ...]
    items: tuple[int, int]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    queries: tuple[QueryChange, ...]

    @property
    def mean_overlap(self) -> float | None:
        """Mean overlap@10 over the shared queries; None when there are none."""
        if not self.queries:
            return None
        return sum(query.overlap for query in self.queries) / len(self.queries)


def compare(registry: Registry, a: str, b: str) -> BundleDiff:
    """Compares two published bundles by what they recorded when they were built and judged.

    Raises:
        InputError: There is no such version.
        LookalikeError: Something that both must have cannot be read.
    """
    before, _ = registry.manifest(a)
    after, _ = registry.manifest(b)
    ids_a, ids_b = set(read_items(registry, a)), set(read_items(registry, b))
    return BundleDiff(
        parameters=tuple(_parameters(before, after)),
        figures=tuple(_figures(registry, before, after)),
        items=(before.items, after.items),
        added=tuple(sorted(ids_b - ids_a)),
        removed=tuple(sorted(ids_a - ids_b)),
        queries=tuple(_queries(registry, a, b)),
    )


def overlap(before: list[str], after: list[str], *, k: int = _CUTOFF) -> float:
    """Returns |A ∩ B| / max(|A|, |B|) of the first `k` results; 1 when both are empty."""
    first, second = set(before[:k]), set(after[:k])
    larger = max(len(first), len(second))
    return len(first & second) / larger if larger else 1.0


def read_items(registry: Registry, version: str) -> dict[str, str]:
    """Returns the image of each item of a bundle, by item id.

    Raises:
        LookalikeError: The bundle's items.jsonl cannot be read.
    """
    key = publish.bundle_key(version, "items.jsonl")
    data, _ = registry.store.read(key)
    try:
        records = [json.loads(line) for line in data.splitlines() if line.strip()]
        return {str(record["item_id"]): str(record.get("image", "")) for record in records}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LookalikeError(
            f"{key}: expected a JSON object with item_id a line ({error})"
        ) from None


def _parameters(before: Manifest, after: Manifest) -> list[tuple[str, Any, Any]]:
    def named(manifest: Manifest) -> dict[str, Any]:
        values: dict[str, Any] = {
            "mode": manifest.mode,
            "encoder": manifest.encoder_digest[:12],
            "taxonomy": manifest.taxonomy_digest[:12],
            "embedding_dim": manifest.embedding_dim,
        }
        for prefix, mapping in (
            ("", manifest.parameters),
            ("index.", manifest.index),
            ("lineage.", manifest.lineage),
        ):
            values |= {f"{prefix}{name}": value for name, value in mapping.items()}
        return values

    first, second = named(before), named(after)
    names = [*first, *(name for name in second if name not in first)]
    return [
        (name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    ]


def _figures(registry: Registry, before: Manifest, after: Manifest) -> list[Figure]:
    first, second = _values(registry, before), _values(registry, after)
    nothing = (None, None, None)
    names = [*first, *(name for name in second if name not in first)]
    return [Figure(name, first.get(name, nothing), second.get(name, nothing)) for name in names]


def _values(
    registry: Registry, manifest: Manifest
) -> dict[str, tuple[float | None, float | None, float | None]]:
    values: dict[str, tuple[float | None, float | None, float | None]] = {
        f"build: {name}": (value, None, None) for name, value in manifest.metrics.items()
    }
    newest = {verdict.gate: verdict for verdict in registry.verdicts(manifest.version)}
    for gate, verdict in sorted(newest.items()):
        for check in verdict.checks:
            if check.observed is not None:
                values[f"{gate}: {_check_name(check)}"] = (
                    check.observed,
                    check.lower,
                    check.upper,
                )
    return values


def _check_name(check: Check) -> str:
    return check.name if check.slice == "all" else f"{check.name} ({check.slice})"


def _queries(registry: Registry, a: str, b: str) -> list[QueryChange]:
    first, second = _answers(registry, a), _answers(registry, b)
    changes = []
    for query_id in first.keys() & second.keys():
        before, after = first[query_id], second[query_id]
        image = next(
            (
                (version, str(record["image"]))
                for version, record in ((b, after), (a, before))
                if record.get("image")
            ),
            None,
        )
        changes.append(
            QueryChange(
                query_id=query_id,
                overlap=overlap(before["item_ids"], after["item_ids"]),
                before=tuple(before["item_ids"][:_CUTOFF]),
                after=tuple(after["item_ids"][:_CUTOFF]),
                image=image,
                kind=str(after.get("kind", "")),
            )
        )
    return sorted(changes, key=lambda change: (change.overlap, change.query_id))


def _answers(registry: Registry, version: str) -> dict[str, dict[str, Any]]:
    key = publish.bundle_key(version, "golden/answers.json")
    try:
        data, _ = registry.store.read(key)
    except ObjectNotFoundError:
        return {}
    try:
        records = json.loads(data)["queries"]
        return {
            str(record["query_id"]): record
            for record in records
            if isinstance(record["item_ids"], list)
        }
    except (ValueError, KeyError, TypeError) as error:
        raise LookalikeError(f"{key}: cannot be read ({error})") from None
