"""Label Studio's files: both exports are read, and what is not understood is an empty text."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from components.contracts.errors import InputError
from components.human_eval.label_studio import INTERFACE, read_annotations, tasks_of


def annotation(choice="2", who=7, **changes):
    result = [{"from_name": "grade", "type": "choices", "value": {"choices": [choice]}}]
    return {"completed_by": who, "result": result, "lead_time": 3.5, "was_cancelled": False,
            "created_at": "2026-11-22T03:00:00Z", **changes}  # fmt: skip


def read(tasks):
    return list(read_annotations(json.dumps(tasks).encode(), source="x.json"))


def test_the_json_export():
    task = {"id": 1, "data": {"task_id": "t1"}, "annotations": [
        annotation(), annotation("3 same product", {"email": "ann@shop.example"}),
        annotation("can't tell", 9), annotation(was_cancelled=True)]}  # fmt: skip
    found = read([task])
    assert [entry["grade"] for entry in found] == ["2", "3", "cant_tell", "cancelled"]
    assert [entry["rater_id"] for entry in found] == ["7", "ann@shop.example", "9", "7"]
    assert {entry["task_id"] for entry in found} == {"t1"}
    assert found[0]["seconds"] == 3.5
    assert found[0]["at"].isoformat() == "2026-11-22T03:00:00+00:00"


def test_the_json_min_export():
    found = read([{"task_id": "t1", "grade": "0 unrelated", "annotator": 4, "lead_time": 2}])
    assert found == [{"task_id": "t1", "rater_id": "4", "grade": "0", "seconds": 2.0, "at": None}]


@pytest.mark.parametrize(
    "broken",
    [
        "text", None, {}, {"data": [], "annotations": [annotation()]},
        {"data": {"task_id": "t"}, "annotations": [None]},
        {"data": {"task_id": "t"}, "annotations": [annotation(result=[])]},
        {"data": {"task_id": "t"}, "annotations": [annotation(result="3")]},
        {"data": {"task_id": "t"}, "annotations": [annotation(lead_time=None, created_at="noon")]},
    ],
)  # fmt: skip
def test_what_is_not_understood_becomes_empty_texts(broken):
    (found,) = read([broken])
    assert not all(found.values())


@pytest.mark.parametrize("data", [b"[{", b"", b"{}"])
def test_another_file_is_refused_whole(data):
    with pytest.raises(InputError, match=r"x\.json: expected"):
        list(read_annotations(data, source="x.json"))


def test_the_interface_offers_every_grade(gate):
    aliases = {element.get("alias") for element in ElementTree.fromstring(INTERFACE).iter("Choice")}
    assert aliases == {"0", "1", "2", "3", "cant_tell"}
    gate.publish()
    plan = gate.open().plan
    tasks = json.loads(tasks_of(plan, images="gs://b/c/"))
    assert len(tasks) == len(plan.pairs)
    assert tasks[0]["data"]["query_image"].startswith("gs://b/c/images/")
    assert set(tasks[0]["data"]) == {"task_id", "query_image", "result_image"}
