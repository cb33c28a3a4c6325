from __future__ import annotations

import pytest

from components.outcome.gates import combine, newest, refusal_note, settle, undecided_note
from components.registry.registry import Registry


@pytest.mark.parametrize(
    ("offline", "human", "outcome"),
    [
        ("pass", "pass", "passed"),
        ("pass", "undecided", "undecided"),
        ("pass", "fail", "refused"),
        ("pass", "expired", "refused"),
        ("fail", "pass", "refused"),
        # Nobody was asked because the offline gate failed: that is a refusal, not a wait.
        ("fail", "undecided", "refused"),
        ("undecided", "undecided", "refused"),
        ("none", "pass", "refused"),
        ("PASS", "pass", "refused"),
        ("", "", "refused"),
    ],
)
def test_only_two_passes_pass_and_an_unknown_word_refuses(offline, human, outcome):
    assert combine(offline, human) == outcome


@pytest.fixture
def registry(tmp_path, make_verdict):
    registry = Registry.open(str(tmp_path / "registry"))
    for gate, status, created in (
        ("human", "undecided", "2026-01-03T00:00:00+00:00"),
        ("offline", "fail", "2026-01-01T00:00:00+00:00"),
        ("offline", "pass", "2026-01-02T00:00:00+00:00"),
    ):
        registry.write_verdict(make_verdict(gate, "v2", "d" * 64, status=status, created=created))
    return registry


def test_the_newest_of_each_gate_counts_in_the_gates_order(registry):
    verdicts = newest(registry.verdicts("v2"))

    assert [(verdict.gate, verdict.status) for verdict in verdicts] == [
        ("offline", "pass"),
        ("human", "undecided"),
    ]


def test_the_reasons_are_those_of_the_verdicts(registry):
    record, verdicts = settle(
        registry, version="v2", incumbent="v1", offline="pass", human="undecided"
    )

    assert record.outcome == "undecided"
    assert record.reasons == ("human: recall@10 is a undecided",)
    assert len(verdicts) == 2


def test_without_any_verdict_the_words_are_the_reason(tmp_path):
    record, _ = settle(
        Registry.open(str(tmp_path)), version="v9", incumbent="", offline="fail", human="undecided"
    )

    assert record.reasons == ("offline fail, human undecided",)


def test_the_notes_say_what_is_live_and_what_to_do(registry):
    record, _ = settle(registry, version="v2", incumbent="v1", offline="pass", human="undecided")
    refused = refusal_note(record, registry="gs://b/r", channel="shop", live="v1")
    waiting = undecided_note(record, registry="gs://b/r", channel="shop", live="v1")

    assert "Shoppers still see `v1` on channel `shop`" in refused
    assert "lookalike index diff v1 v2 --registry gs://b/r" in refused
    assert "lookalike submit" in waiting
    assert "--pipeline release --set registry=gs://b/r --set channel=shop" in waiting
    assert "recall@10 is a undecided" in waiting
