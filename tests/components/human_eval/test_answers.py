"""Reading what evaluate recorded."""

from __future__ import annotations

import pytest

from components.contracts.errors import InputError
from components.contracts.files import write_json_lines
from components.human_eval.answers import read_answers


def line(query_id="q1", kind="shopper", products=("p1", "p1", "p2", "p3")):
    return {
        "query_id": query_id, "kind": kind, "image": "q.jpg", "content_hash": "h",
        "taxon_id": "t", "product_id": "p1",
        "results": [
            {"item_id": f"i{n}", "product_id": p, "image": f"{n}.jpg", "content_hash": f"h{n}"}
            for n, p in enumerate(products)
        ],
    }  # fmt: skip


def test_one_image_a_product_from_the_top(tmp_path):
    write_json_lines(tmp_path / "a.jsonl", [line(), line("q2", kind="item")])
    found = read_answers(tmp_path / "a.jsonl", kind="shopper", results=2)
    assert [r.item_id for r in found["q1"].results] == ["i0", "i2"]
    assert list(found) == ["q1"]
    assert list(read_answers(tmp_path / "a.jsonl", kind="any", results=2)) == ["q1", "q2"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([line(), line()], "line 2: query 'q1' stands there twice"),
        ([{"query_id": "q", "kind": "shopper"}], "line 1: expected the field 'image'"),
        ([{**line(), "results": [{"item_id": "x"}]}], "line 1: expected the field 'product_id'"),
    ],
)
def test_a_broken_file_is_refused_by_line(tmp_path, records, message):
    write_json_lines(tmp_path / "a.jsonl", records)
    with pytest.raises(InputError, match=message):
        read_answers(tmp_path / "a.jsonl", kind="shopper", results=5)
