"""Segments: many records in one write-once object, numbered, checksummed and chained.

```
ratings/segments/00000001.jsonl
{"lines_sha256": ..., "number": 1, "previous_sha256": "", "records": 2, "schema": 1}
{...}
{...}
```

A number is taken by whoever writes it first; the header names the digest of the lines and of the
whole segment before, so that a truncated, changed or missing one is seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from components.contracts.files import sha256_bytes
from components.human_eval.rating_records import Entry, read_entry

SCHEMA = 1
FOLDER = "ratings/segments/"
_NAME = re.compile(r"(\d{8})\.jsonl")


def segment_key(number: int) -> str:
    """Returns a segment's key, relative to the campaign."""
    return f"{FOLDER}{number:08d}.jsonl"


def segment_number(key: str) -> int | None:
    """Returns the number in a key; None for what is no segment."""
    found = _NAME.fullmatch(key.rpartition("/")[2])
    return int(found[1]) if found else None


def encode_segment(lines: Sequence[bytes], *, number: int, previous_sha256: str) -> bytes:
    """Returns a segment's bytes.

    Args:
        lines: Records, one line of JSON each.
        number: Its place, from 1.
        previous_sha256: Of the segment before; empty for the first.
    """
    body = b"".join(line + b"\n" for line in lines)
    header = {
        "lines_sha256": sha256_bytes(body),
        "number": number,
        "previous_sha256": previous_sha256,
        "records": len(lines),
        "schema": SCHEMA,
    }
    return json.dumps(header, sort_keys=True).encode() + b"\n" + body


def decode_segment(data: bytes, *, number: int, sealed_sha256: str = "") -> list[Entry]:
    """Returns a segment's records; a damaged one is set aside as a whole, with its reason.

    Nobody can tell which lines of a damaged segment are as they were, so none counts.

    Args:
        data: The object.
        number: The number in its name.
        sealed_sha256: Of the object, as the segment after it names it; empty without one.
    """
    name = f"segments/{number:08d}.jsonl"
    head, _, body = data.partition(b"\n")
    header = _header(head)
    if header is None:
        count = max(1, body.count(b"\n"))
        return [Entry(name, None, "segment_damaged", "its header cannot be read", count)]
    if header["schema"] != SCHEMA or header["number"] != number:
        problem = "its header names another number or schema"
    elif sha256_bytes(body) != header["lines_sha256"]:
        problem = "its SHA-256 is not the recorded one: truncated or changed"
    elif sealed_sha256 and sha256_bytes(data) != sealed_sha256:
        problem = "it is not the segment that the next one was chained to"
    else:
        lines = body.split(b"\n")[:-1]
        return [read_entry(f"{name}:{row}", line) for row, line in enumerate(lines, start=2)]
    return [Entry(name, None, "segment_damaged", problem, max(1, header["records"]))]


def decode_segments(segments: Mapping[int, bytes]) -> list[Entry]:
    """Returns the records of all segments in order; damaged and missing ones are set aside."""
    entries: list[Entry] = []
    for number in range(1, max(segments, default=0) + 1):
        data = segments.get(number)
        if data is None:
            entries.append(missing_segment(number))
            continue
        following = _header(segments.get(number + 1, b"").partition(b"\n")[0])
        sealed = following["previous_sha256"] if following else ""
        entries.extend(decode_segment(data, number=number, sealed_sha256=sealed))
    return entries


def _header(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    kinds = {"lines_sha256": str, "number": int, "previous_sha256": str, "records": int}
    if any(type(value.get(name)) is not kind for name, kind in kinds.items()):
        return None
    return {"schema": None, **value}


def missing_segment(number: int) -> Entry:
    """Returns what stands for a segment that later ones show to be gone."""
    return Entry(
        f"segments/{number:08d}.jsonl", None, "segment_missing", "later segments are there"
    )
