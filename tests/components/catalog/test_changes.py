import pytest

from components.catalog.changes import resolve_mode
from components.contracts.catalog import Item
from components.contracts.errors import InputError


def items(count, changed=0):
    return [
        Item(f"i{n}", f"/i{n}.png", "new" if n < changed else "old", "chair", f"p{n}")
        for n in range(count)
    ]


def live(count):
    return [{"item_id": f"i{n}", "content_hash": "old"} for n in range(count)]


def resolve(requested, today, yesterday, *, taxonomy_changed=False):
    return resolve_mode(
        requested=requested,
        items=today,
        live_items=yesterday,
        taxonomy_changed=taxonomy_changed,
        max_changed_share=0.2,
    )


@pytest.mark.parametrize("mode", ["scratch", "warm", "reuse"])
def test_what_was_asked_for_is_done(mode):
    assert resolve(mode, items(10, 10), live(10), taxonomy_changed=True) == (
        mode,
        f"{mode} was asked for",
    )


@pytest.mark.parametrize("mode", ["warm", "reuse"])
def test_nothing_can_be_reused_where_nothing_is_live(mode):
    with pytest.raises(InputError, match="--mode scratch"):
        resolve(mode, items(10), None)


@pytest.mark.parametrize(
    ("today", "yesterday", "taxonomy_changed", "mode", "reason"),
    [
        (items(10), None, False, "scratch", "nothing is live"),
        (items(10), live(10), True, "scratch", "nodes that the live encoder does not know"),
        (items(10), live(10), False, "reuse", "0 of 10 items (0.0%)"),
        (items(10, changed=2), live(10), False, "reuse", "2 of 10 items (20.0%)"),
        (items(10, changed=3), live(10), False, "scratch", "3 of 10 items (30.0%)"),
        (items(10), live(8), False, "reuse", "2 of 10 items"),
        (items(10), live(7), False, "scratch", "3 of 10 items"),
        # What left the catalog needs no computing.
        (items(10), live(100), False, "reuse", "0 of 10 items"),
    ],
)
def test_auto(today, yesterday, taxonomy_changed, mode, reason):
    resolved, said = resolve("auto", today, yesterday, taxonomy_changed=taxonomy_changed)
    assert resolved == mode
    assert reason in said


def test_an_unknown_mode_is_refused():
    with pytest.raises(InputError, match="expected auto, scratch, warm, reuse"):
        resolve("fast", items(1), None)
