from __future__ import annotations

import json
import logging

from serving import log


def line(message="hello", *, error=None, **fields):
    record = logging.LogRecord("x", logging.WARNING, "f", 1, message, None, error)
    if fields:
        record.fields = fields
    return json.loads(log.JsonFormatter().format(record))


def test_a_line_is_one_json_object_with_its_fields():
    entry = line("something\nhappened", count=3)
    assert (entry["level"], entry["message"], entry["count"]) == (
        "warning", "something\nhappened", 3,
    )  # fmt: skip
    assert entry["time"].endswith("+00:00")
    assert "request_id" not in entry


def test_a_line_within_a_request_carries_its_id_and_its_traces():
    first, second = log.request_id.set("abc"), log.trace_id.set("0af7")
    try:
        entry = line()
    finally:
        log.request_id.reset(first)
        log.trace_id.reset(second)
    assert (entry["request_id"], entry["trace_id"]) == ("abc", "0af7")
