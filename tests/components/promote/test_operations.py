from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from components.contracts.errors import InputError, LookalikeError
from components.promote import operations
from components.registry.registry import ConflictError, Registry


@dataclass
class Place:
    uri: str
    registry: Registry

    def do(self, kind, version="", **options):
        options = {"who": "ada", "why": "test", "channel": "prod", **options}
        return operations.operate(kind, registry=self.uri, version=version, **options)

    @property
    def state(self):
        return self.registry.channel("prod")


@pytest.fixture
def place(tmp_path: Path, make_bundle, make_verdict) -> Place:
    """A channel with v1 live, v2 that may follow, and v3 that no gate has judged."""
    registry = Registry.open(str(tmp_path / "registry"))
    for version in ("v1", "v2", "v3"):
        registry.publish_bundle(make_bundle(tmp_path, version))
    registry.move("prod", to="v1", who="ada", why="first")
    for gate in ("offline", "human"):
        digest = registry.manifest("v2")[1]
        registry.write_verdict(make_verdict(gate, "v2", digest, incumbent="v1"))
    return Place(str(tmp_path / "registry"), registry)


@pytest.mark.parametrize(
    ("kind", "version"),
    [("promote", "v2"), ("freeze", ""), ("quarantine", "v3")],
)
def test_a_dry_run_says_what_would_be_and_changes_nothing(place, kind, version):
    before = place.state
    done = place.do(kind, version, dry_run=True)
    assert "would be" in done.words
    assert (done.move, done.event, done.refused) == (None, None, False)
    assert place.state == before


def test_what_a_dry_run_promised_is_what_is_done(place):
    promised = place.do("promote", "v2", dry_run=True)
    done = place.do("promote", "v2", expected_live="v1")
    assert promised.words.replace("would be", "is") == done.words
    assert done.words == "prod: v2 is live; before: v1"
    assert (place.state.live, place.state.held[0].who) == ("v2", "ada")
    assert done.event["event"] == "lookalike.channel.promote"


def test_a_refusal_is_an_outcome_with_its_reasons(place):
    done = place.do("promote", "v3")
    assert done.refused
    assert done.words == "prod: refused; v1 stays live"
    assert [reason.split(":")[0] for reason in done.reasons] == ["offline", "human"]
    assert place.state.live == "v1"


def test_a_rollback_goes_back_and_quarantines(place):
    place.do("promote", "v2")
    promised = place.do("rollback", dry_run=True)
    assert (promised.version, place.state.live) == ("v1", "v2")
    done = place.do("rollback", expected_live="v2")
    assert done.words == "prod: v1 is live again"
    assert done.reasons[0].startswith("v2 is quarantined")
    assert place.state.live == "v1"
    assert "v2" in place.state.quarantine


@pytest.mark.parametrize("kind", ["promote", "rollback"])
def test_what_somebody_else_moved_meanwhile_is_not_moved_again(place, kind):
    place.do("promote", "v2")
    if kind == "promote":
        assert place.do("promote", "v3", force=True, expected_live="v1").refused
    else:
        with pytest.raises(ConflictError, match="expected v1 to be live, but v2 is"):
            place.do("rollback", expected_live="v1")
    assert place.state.live == "v2"


def test_freeze_and_quarantine_are_noted_and_ended(place):
    assert place.do("freeze").event["event"] == "lookalike.channel.freeze"
    assert place.state.frozen.why == "test"
    place.do("unfreeze")
    assert place.do("quarantine", "v3").words == "prod: v3 is quarantined"
    place.do("release", "v3")
    assert (place.state.frozen, place.state.quarantine) == (None, {})


def test_mistakes_are_told(place):
    with pytest.raises(InputError, match="reason: expected some words"):
        place.do("freeze", why="  ")
    with pytest.raises(InputError, match="there is no channel 'prd'; there are: prod"):
        place.do("rollback", channel="prd")
    with pytest.raises(LookalikeError, match="there is no registry here"):
        operations.operate(
            "freeze", registry=place.uri + "-not", channel="prod", who="ada", why="test"
        )
    with pytest.raises(LookalikeError, match="not frozen"):
        place.do("unfreeze", dry_run=True)
