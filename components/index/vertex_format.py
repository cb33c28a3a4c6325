"""Vertex AI Vector Search's import format: what a batch may hold, and whether one does.

Source: "Input data format and structure" of Google Cloud's documentation of Vector Search
(cloud.google.com/vertex-ai/docs/vector-search/format-structure), as of November 2026: data files
lie directly under the batch root and end in .json or .avro; `delete/` beside them may hold text
files with one id a line; an id stands once in a batch and never in both; at most 5,000 objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError, LookalikeError

MOST_OBJECTS = 5000
DELETE = "delete"
FORMATS = ("json", "avro")

_FLOATS = {"type": "array", "items": "float"}
_STRINGS = ["null", {"type": "array", "items": "string"}]
_NUMBERS = [
    {"name": "namespace", "type": "string"},
    *(
        {"name": f"value_{kind}", "type": ["null", kind], "default": None}
        for kind in ("int", "float", "double")
    ),
]
AVRO_SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "FeatureVector",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "embedding", "type": _FLOATS},
        {
            "name": "sparse_embedding",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "sparse_embedding",
                    "fields": [
                        {"name": "values", "type": _FLOATS},
                        {"name": "dimensions", "type": {"type": "array", "items": "long"}},
                    ],
                },
            ],
        },
        {
            "name": "restricts",
            "type": [
                "null",
                {
                    "type": "array",
                    "items": {
                        "type": "record",
                        "name": "Restrict",
                        "fields": [
                            {"name": "namespace", "type": "string"},
                            {"name": "allow", "type": _STRINGS},
                            {"name": "deny", "type": _STRINGS},
                        ],
                    },
                },
            ],
        },
        {
            "name": "numeric_restricts",
            "type": [
                "null",
                {
                    "type": "array",
                    "items": {"type": "record", "name": "NumericRestrict", "fields": _NUMBERS},
                },
            ],
            "default": None,
        },
        {"name": "crowding_tag", "type": ["null", "string"]},
    ],
}
"""The documented Avro schema."""


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Writes one data file; its suffix says in which format.

    Args:
        path: Ends in `.json` or `.avro`.
        records: As they stand in a JSON file.

    Raises:
        LookalikeError: Avro is asked for and fastavro is not installed.
    """
    if path.suffix == ".json":
        with path.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        return
    fastavro = _fastavro()
    with path.open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(AVRO_SCHEMA), map(_to_avro, records))


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the records of a data file.

    Raises:
        InputError: A line is not a JSON object.
    """
    if path.suffix == ".avro":
        with path.open("rb") as file:
            yield from _fastavro().reader(file, AVRO_SCHEMA)
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            record = json.loads(line)
            if not isinstance(record, dict):
                raise InputError(f"{path}, line {number}: expected a JSON object")
            yield record


def check_batch(root: Path, *, dim: int) -> tuple[int, int]:
    """Holds a whole batch against what the documentation says.

    Args:
        root: The batch root.
        dim: Dimensions that the index is configured with.

    Returns:
        How many vectors and how many deletions it holds.

    Raises:
        InputError: The service would refuse or misread the batch; the message says why.
    """
    objects = [path for path in root.rglob("*") if path.is_file()]
    if len(objects) > MOST_OBJECTS:
        raise InputError(f"{root}: expected at most {MOST_OBJECTS} files, found {len(objects)}")
    seen: set[str] = set()
    vectors = 0
    for path in sorted(root.iterdir()):
        if path.is_dir():
            if path.name != DELETE:
                raise InputError(f"{path}: expected no folder but {DELETE}/ in a batch")
            continue
        if path.suffix.removeprefix(".") not in FORMATS:
            raise InputError(f"{path}: expected .json or .avro, received {path.suffix!r}")
        for record in read(path):
            _check(record, path, dim)
            if record["id"] in seen:
                raise InputError(f"{path}: the id {record['id']!r} stands twice in the batch")
            seen.add(record["id"])
            vectors += 1
    deletions = 0
    for path in sorted((root / DELETE).glob("*")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line or line in seen:
                raise InputError(f"{path}: {line!r}: expected an id that no data file holds")
            seen.add(line)
            deletions += 1
    return vectors, deletions


def _check(record: dict[str, Any], path: Path, dim: int) -> None:
    where = f"{path}: {record.get('id')!r}"
    known = {field["name"] for field in AVRO_SCHEMA["fields"]}
    if unknown := sorted(set(record) - known):
        raise InputError(f"{where}: unknown field {unknown[0]!r}")
    if not isinstance(record.get("id"), str) or not record["id"]:
        raise InputError(f"{where}: expected an id of text")
    embedding = record.get("embedding")
    if not isinstance(embedding, list) or len(embedding) != dim:
        raise InputError(f"{where}: expected an embedding of {dim} numbers")
    if not all(isinstance(value, float) for value in embedding):
        raise InputError(f"{where}: expected floating-point numbers in the embedding")
    tag = record.get("crowding_tag")
    if tag is not None and not isinstance(tag, str):
        raise InputError(f"{where}: expected a crowding_tag of text, received {tag!r}")
    for restrict in record.get("restricts") or ():
        tokens = [*(restrict.get("allow") or ()), *(restrict.get("deny") or ())]
        texts = [restrict.get("namespace"), *tokens]
        if set(restrict) - {"namespace", "allow", "deny"} or not all(
            isinstance(text, str) and text for text in texts
        ):
            raise InputError(f"{where}: restricts: expected namespace, allow and deny of texts")


def _to_avro(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the record with the nulls that the schema wants to be said."""
    restricts = [
        {"namespace": one["namespace"], "allow": one.get("allow"), "deny": one.get("deny")}
        for one in record.get("restricts", ())
    ]
    return {
        "sparse_embedding": None,
        "numeric_restricts": None,
        "crowding_tag": None,
        **record,
        "restricts": restricts,
    }


def _fastavro() -> Any:
    try:
        import fastavro  # noqa: PLC0415 - only Avro needs it
    except ImportError:
        raise LookalikeError(
            "Avro needs the package fastavro; install lookalike[scann], or export JSON"
        ) from None
    return fastavro
