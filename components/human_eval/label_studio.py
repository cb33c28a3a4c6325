"""Label Studio: a campaign's tasks and labelling interface, and the annotations that come back.

Both of its exports are read: JSON (tasks with annotations) and JSON-MIN (one flat record each).
Format: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from components.contracts.errors import InputError
from components.human_eval.plan import Plan
from components.human_eval.ratings import CANT_TELL, GRADES

_TO_GRADE = {
    **{grade: grade for grade in GRADES},
    "0 unrelated": "0",
    "1 related": "1",
    "2 similar": "2",
    "3 same product": "3",
    "can't tell": CANT_TELL,
}

INTERFACE = """<View>
  <Header value="How similar is the right one to the left one?"/>
  <View style="display:flex;gap:1rem">
    <Image name="query" value="$query_image"/>
    <Image name="result" value="$result_image"/>
  </View>
  <Choices name="grade" toName="result" choice="single-radio" required="true">
    <Choice value="3 same product" alias="3" hotkey="3"/>
    <Choice value="2 similar" alias="2" hotkey="2"/>
    <Choice value="1 related" alias="1" hotkey="1"/>
    <Choice value="0 unrelated" alias="0" hotkey="0"/>
    <Choice value="can't tell" alias="cant_tell" hotkey="space"/>
  </Choices>
</View>
"""


def tasks_of(plan: Plan, *, images: str = "") -> str:
    """Returns the tasks as Label Studio imports them.

    Args:
        plan: The plan.
        images: What to put before the images' paths, such as the address of a bucket.
    """
    tasks = [
        {
            "data": {
                **record,
                **{
                    name: f"{images.rstrip('/')}/{record[name]}" if images else record[name]
                    for name in ("query_image", "result_image")
                },
            }
        }
        for record in plan.rater_view()
    ]
    return json.dumps(tasks, indent=1) + "\n"


def read_annotations(data: bytes, *, source: str) -> Iterator[dict[str, Any]]:
    """Yields the annotations of an export as flat records with texts as they came.

    Yields:
        `task_id`, `rater_id`, `grade`, `seconds` and `at`; what is missing or not understood is an
        empty text, for the reader to set aside. Cancelled annotations have the grade `cancelled`.

    Raises:
        InputError: It is no JSON list: a truncated file.
    """
    try:
        tasks = json.loads(data)
    except ValueError as error:
        raise InputError(
            f"{source}: expected a Label Studio export (JSON), received something else ({error}); "
            "a truncated file is not read in part"
        ) from None
    if not isinstance(tasks, list):
        raise InputError(f"{source}: expected a list of tasks, received {type(tasks).__name__}")
    for task in tasks:
        if not isinstance(task, dict):
            yield _flat({}, "", "", "", "")
        elif isinstance(task.get("annotations"), list):
            fields = task.get("data")
            for annotation in task["annotations"]:
                known = annotation if isinstance(annotation, dict) else {}
                grade = "cancelled" if known.get("was_cancelled") else _choice(known.get("result"))
                yield _flat(
                    fields if isinstance(fields, dict) else {},
                    known.get("completed_by"),
                    grade,
                    known.get("lead_time"),
                    known.get("created_at"),
                )
        else:
            yield _flat(
                task,
                task.get("annotator"),
                _grade(task.get("grade")),
                task.get("lead_time"),
                task.get("created_at"),
            )


def _flat(fields: dict[str, Any], who: Any, grade: str, seconds: Any, at: Any) -> dict[str, Any]:
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    good = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return {
        "task_id": str(fields.get("task_id") or ""),
        "rater_id": "" if who is None or isinstance(who, bool) else str(who),
        "grade": grade,
        "seconds": float(seconds) if good and math.isfinite(seconds) else None,
        "at": _time(at),
    }


def _choice(result: Any) -> str:
    """Returns the grade in an annotation's result; empty when there is not exactly one."""
    if not isinstance(result, list):
        return ""
    found = []
    for part in result:
        if isinstance(part, dict) and part.get("from_name") == "grade":
            value = part.get("value")
            choices = value.get("choices") if isinstance(value, dict) else None
            if isinstance(choices, list):
                found.extend(choices)
    return _grade(found[0]) if len(found) == 1 else ""


def _grade(choice: Any) -> str:
    return _TO_GRADE.get(str(choice), str(choice)[:20]) if choice is not None else ""


def _time(value: Any) -> datetime | None:
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return when if when.utcoffset() is not None else None
