"""Segments: what was changed, cut or taken away is seen and set aside as a whole."""

import pytest

from components.contracts.files import sha256_bytes
from components.human_eval.rating_records import Record
from components.human_eval.rating_segments import (
    decode_segment,
    decode_segments,
    encode_segment,
    segment_key,
    segment_number,
)

AT = "2026-11-22T12:00:00.000+00:00"
RECORDS = [Record(f"t{n}", "ann", n % 4, 1.0, AT, "c", "web") for n in range(6)]


def chain() -> dict[int, bytes]:
    first = encode_segment([r.to_bytes() for r in RECORDS[:4]], number=1, previous_sha256="")
    second = encode_segment(
        [r.to_bytes() for r in RECORDS[4:]], number=2, previous_sha256=sha256_bytes(first)
    )
    return {1: first, 2: second}


def test_segments_are_read_in_order():
    assert [entry.record for entry in decode_segments(chain())] == RECORDS


def test_keys_hold_the_number():
    assert segment_key(12) == "ratings/segments/00000012.jsonl"
    assert segment_number("campaigns/a/b/ratings/segments/00000012.jsonl") == 12
    assert segment_number("ratings/segments/12.jsonl.tmp") is None


@pytest.mark.parametrize("cut", [1, 60, 200])
def test_a_truncated_segment_is_set_aside_whole_and_the_next_one_counts(cut):
    segments = chain()
    segments[1] = segments[1][:-cut]

    entries = decode_segments(segments)
    assert (entries[0].reason, entries[0].count) == ("segment_damaged", 4)
    assert [entry.record for entry in entries[1:]] == RECORDS[4:]


def test_a_segment_written_anew_is_found_by_the_chain():
    segments = chain()
    forged = [Record("t0", "ann", 3, 1.0, AT, "c", "web").to_bytes()]
    segments[1] = encode_segment(forged, number=1, previous_sha256="")

    entries = decode_segments(segments)
    assert entries[0].reason == "segment_damaged"
    assert "chained" in entries[0].detail


@pytest.mark.parametrize("head", [b"", b"[]", b"{}", b'{"records": true}', b"\xff"])
def test_a_segment_without_a_header_is_set_aside(head):
    (entry,) = decode_segment(head + b"\nline\nline\n", number=1)

    assert (entry.reason, entry.count) == ("segment_damaged", 2)


def test_a_segment_under_another_number_is_set_aside():
    (entry,) = decode_segment(chain()[1], number=2)

    assert "number" in entry.detail


def test_a_missing_segment_is_reported():
    segments = chain()
    del segments[1]

    entries = decode_segments(segments)
    assert entries[0].reason == "segment_missing"
    assert [entry.record for entry in entries[1:]] == RECORDS[4:]
