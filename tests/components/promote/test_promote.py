"""The gate: what it takes, what it refuses, and that it fails closed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from components.contracts.errors import InputError, LookalikeError
from components.promote.promote import PromotionOutcome, item_churn, promote_candidate
from components.registry import campaigns
from components.registry.policy import Policy
from components.registry.registry import Registry

Make = Callable[..., Any]


class Shop:
    """A registry with v1 live on `prod`, and a candidate v2 that may go live."""

    def __init__(self, root: Path, make_bundle: Make, make_verdict: Make) -> None:
        self.uri = str(root / "registry")
        self.registry = Registry.open(self.uri)
        self._root, self._make_bundle, self._make_verdict = root, make_bundle, make_verdict
        self.publish("v1")
        self.registry.move("prod", to="v1", who="tests", why="first")
        self.publish("v2")

    def publish(self, version: str, **bundle: Any) -> None:
        self.registry.publish_bundle(self._make_bundle(self._root / "built", version, **bundle))

    def judge(self, gate: str, version: str = "v2", digest: str = "", **changes: Any) -> str:
        digest = digest or self.registry.manifest(version)[1]
        changes = {"incumbent": self.registry.channel("prod").live, **changes}
        return self.registry.write_verdict(self._make_verdict(gate, version, digest, **changes))

    def promote(self, version: str = "v2", **changes: Any) -> PromotionOutcome:
        arguments: dict[str, Any] = {
            "registry": self.uri,
            "channel": "prod",
            "version": version,
            "expected_incumbent": "v1",
            "who": "alice",
            "why": "daily run",
        }
        return promote_candidate(**(arguments | changes))


@pytest.fixture
def shop(tmp_path: Path, make_bundle: Make, make_verdict: Make) -> Shop:
    """See `Shop`."""
    return Shop(tmp_path, make_bundle, make_verdict)


def refused(shop: Shop, **changes: Any) -> str:
    """Promotes, checks that it was refused and nothing moved; returns the reasons."""
    outcome = shop.promote(**changes)
    assert outcome.outcome == "refused"
    assert shop.registry.channel("prod").live == "v1"
    return "; ".join(outcome.reasons)


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def test_promotes_what_every_gate_has_passed(shop: Shop) -> None:
    keys = {shop.judge("offline", incumbent="v1"), shop.judge("human")}
    outcome = shop.promote()
    assert (outcome.outcome, outcome.version, outcome.previous) == ("promoted", "v2", "v1")
    assert outcome.reasons == ()
    entry = shop.registry.channel("prod").history[0]
    assert (entry.to, entry.who, entry.why, entry.forced) == ("v2", "alice", "daily run", False)
    assert set(entry.verdicts) == keys


def test_without_verdicts_nothing_goes_live(shop: Shop) -> None:
    assert refused(shop) == (
        "offline: there is no verdict on this bundle; human: there is no verdict on this bundle"
    )


def test_one_missing_verdict_is_enough_to_refuse(shop: Shop) -> None:
    shop.judge("offline")
    assert refused(shop) == "human: there is no verdict on this bundle"


@pytest.mark.parametrize("status", ["fail", "undecided", "expired"])
def test_only_a_pass_passes(shop: Shop, status: str) -> None:
    shop.judge("offline")
    shop.judge("human", status=status)
    assert refused(shop) == f"human: {status} (recall@10 is a {status})"


def test_the_newest_verdict_of_a_gate_counts(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human", status="undecided", created=ago(hours=2))
    shop.judge("human", created=ago(hours=1))
    assert shop.promote(dry_run=True).outcome == "promoted"
    shop.judge("human", status="fail")
    assert "human: fail" in refused(shop)


def test_of_two_verdicts_at_one_time_the_worse_counts(shop: Shop) -> None:
    now = datetime.now(UTC).isoformat()
    shop.judge("offline")
    shop.judge("human", created=now)
    shop.judge("human", created=now, status="fail")
    assert "human: fail" in refused(shop)


def test_a_verdict_on_another_manifest_does_not_count(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human", digest="0" * 64)
    assert "human: the verdict judges another manifest (000000000000..." in refused(shop)


def test_an_unreadable_verdict_refuses_even_beside_a_pass(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    shop.registry.store.write("verdicts/v2/human-broken.json", b"{")
    assert "human-broken.json cannot be read" in refused(shop)


def test_a_pass_without_checks_is_no_pass(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human", checks=())
    assert "cannot be read" in refused(shop)


def test_simulated_ratings_count_only_where_the_policy_says_so(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human", simulated=True)
    assert "no person judged this" in refused(shop)
    shop.registry.set_policy("prod", Policy(allow_simulated=True))
    assert shop.promote().outcome == "promoted"


@pytest.mark.parametrize(
    ("created", "reason"),
    [
        (ago(days=15), "human: the verdict is 15.0 days old; at most 14 are allowed"),
        (ago(days=-1), "human: a verdict's time cannot be read or lies in the future"),
        ("yesterday", "human: a verdict's time cannot be read"),
        ("2026-11-22T10:00:00", "human: a verdict's time cannot be read"),
    ],
)
def test_old_and_timeless_verdicts_do_not_count(shop: Shop, created: str, reason: str) -> None:
    shop.judge("offline")
    shop.judge("human", created=created)
    assert reason in refused(shop)


def test_a_verdict_against_another_incumbent_does_not_count(shop: Shop) -> None:
    shop.judge("offline", incumbent="v0")
    shop.judge("human")
    assert refused(shop) == "offline: the verdict compares with v0, but v1 is live"
    shop.registry.set_policy("prod", Policy(same_incumbent=False))
    assert shop.promote().outcome == "promoted"


def test_a_verdict_that_compared_with_nothing_does_not_replace_what_is_live(shop: Shop) -> None:
    shop.judge("offline", incumbent="")
    shop.judge("human")
    assert refused(shop) == "offline: the verdict compares with nothing, but v1 is live"


def test_only_the_named_writers_count(shop: Shop) -> None:
    shop.registry.set_policy("prod", Policy(writers={"human": ("human-gate",)}))
    shop.judge("offline")
    shop.judge("human", writer="somebody")
    assert "human: written by 'somebody', who may not (human-gate may)" in refused(shop)
    shop.judge("human", writer="human-gate")
    assert shop.promote().outcome == "promoted"


def test_a_channel_may_want_signatures(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.registry.set_policy("prod", Policy(signed=True))
    shop.judge("offline")
    shop.judge("human")
    assert "the policy wants signed verdicts; the signature is missing" in refused(shop)
    (tmp_path / "key").write_text("0123456789abcdef")
    monkeypatch.setenv("LOOKALIKE_VERDICT_KEY_FILE", str(tmp_path / "key"))
    shop.judge("offline", created=ago(seconds=-1))
    shop.judge("human", created=ago(seconds=-1))
    assert shop.promote(dry_run=True).outcome == "promoted"
    (tmp_path / "key").write_text("another key, of 16")
    assert "human: the verdict's signature is wrong" in refused(shop)


def test_a_stale_bundle_is_refused(shop: Shop) -> None:
    shop.publish("v3", created=ago(days=31))
    shop.judge("offline", "v3")
    shop.judge("human", "v3")
    assert refused(shop, version="v3") == "the bundle is 31.0 days old; at most 30 are allowed"


def test_a_half_empty_catalog_is_refused(shop: Shop) -> None:
    # v1 has the items a to d: three of four are kept, 75% of the size and 25% of churn.
    shop.publish("v3", items=("a", "b", "c"))
    shop.judge("offline", "v3")
    shop.judge("human", "v3")
    assert refused(shop, version="v3") == (
        "the bundle has 3 items, 75% of the incumbent's 4; at least 80% are required"
    )
    shop.registry.set_policy("prod", Policy(min_size_ratio=0.75))
    assert shop.promote("v3").outcome == "promoted"


def test_too_much_churn_is_refused(shop: Shop) -> None:
    # Two of a to d stay, x and y come: 4 of 6 are in only one of both.
    shop.publish("v3", items=("a", "b", "x", "y"))
    shop.judge("offline", "v3")
    shop.judge("human", "v3")
    assert "67% of the items are in only one of bundle and incumbent" in refused(shop, version="v3")


def test_an_incumbent_that_cannot_be_compared_with_refuses(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    shop.registry.store.delete("bundles/v1/items.jsonl")
    assert "cannot be compared with the incumbent" in refused(shop)


def test_damage_refuses_and_no_force_helps(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    size = shop.registry.store.stat("bundles/v2/index/vectors.npy").size
    shop.registry.store.write("bundles/v2/index/vectors.npy", b"y" * size)
    for force in (False, True):
        assert "the bundle is not whole: index/vectors.npy" in refused(shop, force=force)


def test_index_and_encoder_must_belong_together(
    shop: Shop, tmp_path: Path, make_bundle: Make
) -> None:
    built = make_bundle(tmp_path / "mixed", "v3")
    encoder = json.dumps({"digest": "f" * 64})
    (built / "encoder" / "encoder.json").write_text(encoder)
    manifest = json.loads((built / "manifest.json").read_text())
    (built / "manifest.json").unlink()
    from components.contracts.bundle import list_files

    files = {path: vars(entry) for path, entry in list_files(built).items()}
    (built / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    shop.registry.publish_bundle(built)
    for force in (False, True):
        reasons = refused(shop, version="v3", force=force)
        assert "the index was built with the encoder eeeeeeeeeeee..." in reasons
        assert "calls itself ffffffffffff..." in reasons


def test_a_quarantined_version_is_refused_and_no_force_helps(shop: Shop) -> None:
    shop.registry.quarantine("prod", "v2", who="bob", why="wrong prices")
    for force in (False, True):
        assert "v2 is quarantined by bob" in refused(shop, force=force)


def test_a_frozen_channel_takes_only_force(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    shop.registry.freeze("prod", who="carol", why="sale day")
    assert "the channel is frozen by carol" in refused(shop)
    assert shop.promote(force=True).outcome == "promoted"
    assert shop.registry.channel("prod").history[0].forced


def test_force_is_recorded_with_what_it_overrode(shop: Shop) -> None:
    shop.judge("offline")
    outcome = shop.promote(force=True)
    assert outcome.reasons == ("overridden by force: human: there is no verdict on this bundle",)
    assert shop.registry.channel("prod").history[0].forced


def test_force_that_overrides_nothing_is_not_recorded_as_such(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    shop.promote(force=True)
    assert not shop.registry.channel("prod").history[0].forced


def test_what_is_live_already_is_unchanged(shop: Shop) -> None:
    outcome = shop.promote("v1")
    assert outcome.outcome == "unchanged"
    assert "tests promoted v1" in outcome.reasons[0]
    assert shop.registry.channel("prod").moves == 1


def test_another_incumbent_than_expected_refuses(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    reasons = refused(shop, expected_incumbent="v0")
    assert "v2 was compared with v0, but v1 is live now: tests promoted v1" in reasons
    assert "compared with nothing" in refused(shop, expected_incumbent="")


def test_a_dry_run_moves_nothing(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    outcome = shop.promote(dry_run=True)
    assert (outcome.outcome, outcome.dry_run, outcome.move) == ("promoted", True, None)
    assert shop.registry.channel("prod").live == "v1"


def test_losing_the_race_is_a_refusal_that_says_who_won(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.judge("offline")
    shop.judge("human")
    shop.publish("v3")
    move = Registry.move

    def overtaken(self: Registry, channel: str, **arguments: Any) -> Any:
        monkeypatch.setattr(Registry, "move", move)
        move(self, channel, to="v3", who="bob", why="faster")
        return move(self, channel, **arguments)

    monkeypatch.setattr(Registry, "move", overtaken)
    outcome = shop.promote()
    assert (outcome.outcome, outcome.previous) == ("refused", "v3")
    assert "bob promoted v3" in outcome.reasons[0]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": "v9"}, InputError),
        ({"version": "../v1"}, InputError),
        ({"channel": "a b"}, InputError),
        ({"why": " "}, InputError),
        ({"who": ""}, InputError),
    ],
)
def test_wrong_names_are_errors(
    shop: Shop, changes: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        shop.promote(**changes)


def test_an_unreadable_policy_or_channel_stops_everything(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human")
    shop.registry.store.write("policies/prod.json", b"{")
    with pytest.raises(LookalikeError, match="takes nothing"):
        shop.promote(force=True)
    shop.registry.store.delete("policies/prod.json")
    shop.registry.store.write("channels/prod.json", b"{")
    with pytest.raises(LookalikeError, match="expected JSON"):
        shop.promote(force=True)


def test_churn_by_hand() -> None:
    assert item_churn({"a", "b", "c"}, {"b", "c", "d"}) == pytest.approx(1 - 2 / 4)
    assert item_churn(set(), set()) == 0.0


def test_a_promotion_closes_the_campaign_that_compared_with_what_was_live(shop: Shop) -> None:
    store = shop.registry.store
    running = campaigns.Current("c3", "v3", "3" * 64, "v1", "2026-11-22T00:00:00+00:00")
    campaigns.make_current(store, "prod", running, generation=0)
    shop.judge("offline")
    shop.judge("human")
    outcome = shop.promote()
    assert outcome.outcome == "promoted"
    assert outcome.reasons == (
        "closed the rating campaign c3: it compared with what is no longer live",
    )
    state = campaigns.read_state(store, "prod", "c3")
    assert (state.state, state.who, state.why) == (
        "expired", "alice", "v2 went live while v3 was being rated",
    )  # fmt: skip


def test_the_campaign_of_the_version_that_goes_live_stays_as_it_was(shop: Shop) -> None:
    store = shop.registry.store
    digest = shop.registry.manifest("v2")[1]
    running = campaigns.Current("c2", "v2", digest, "v1", "2026-11-22T00:00:00+00:00")
    campaigns.make_current(store, "prod", running, generation=0)
    shop.judge("offline")
    shop.judge("human")
    assert shop.promote().reasons == ()
    assert campaigns.read_state(store, "prod", "c2").state == "running"


def test_a_campaign_that_cannot_be_closed_does_not_undo_the_promotion(shop: Shop) -> None:
    shop.registry.store.write("campaigns/prod/current.json", b"{")
    shop.judge("offline")
    shop.judge("human")
    outcome = shop.promote()
    assert outcome.outcome == "promoted"
    assert "could not be closed" in outcome.reasons[0]
    assert shop.registry.channel("prod").live == "v2"


def test_a_human_verdict_older_than_the_policy_is_refused(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human", created=ago(days=14, minutes=5))
    assert "human: the verdict is 14.0 days old; at most 14 are allowed" in refused(shop)


def test_a_simulated_human_verdict_is_refused_where_the_policy_wants_people(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human", simulated=True)
    assert "human: no person judged this" in refused(shop)
    shop.registry.set_policy("prod", Policy(allow_simulated=True), replace=True)
    assert shop.promote().outcome == "promoted"


def test_a_human_verdict_against_another_incumbent_is_refused(shop: Shop) -> None:
    shop.judge("offline")
    shop.judge("human", incumbent="v0")
    assert "human: the verdict compares with v0, but v1 is live" in refused(shop)
