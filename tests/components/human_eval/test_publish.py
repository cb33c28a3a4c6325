"""Published once, whole; resumed; superseding only when told to; thresholds bound by a rating."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.contracts.errors import LookalikeError
from components.contracts.files import sha256_file
from components.human_eval.ask import draw
from components.human_eval.publish import publish, resumable
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import Record
from components.human_eval.ratings import Rating


@pytest.fixture
def draw_draft(gate, tmp_path):
    def make(version="v1", **overrides):
        return draw(
            gate.store, "prod", gate.binding(version), gate.material(version),
            gate.policy(**overrides), folder=tmp_path / "drafts" / version, raters="web",
            now=gate.now,
        )  # fmt: skip

    return make


def put(gate, draft, *, supersede=False):
    return publish(gate.store, "prod", draft, now=gate.now, who="t", supersede=supersede)


def test_published_whole_with_the_sums_that_were_drafted(draw_draft, gate):
    draft = draw_draft()
    assert resumable(gate.store, "prod", draft.binding, draft.config) is None
    first = put(gate, draft)
    assert (first.campaign, first.resumed, first.superseded) == (draft.id, False, "")
    opened = gate.open()
    assert opened.plan == draft.plan
    assert opened.problems == ()
    assert opened.record.sealed["plan.json"] == sha256_file(draft.folder / "plan.json")
    # The draft's own file stays at home.
    assert not [info for info in gate.store.list(opened.prefix) if "draft.json" in info.key]
    assert put(gate, draft) == replace(first, resumed=True)


def test_a_running_campaign_is_superseded_only_when_told_to(draw_draft, gate):
    old = put(gate, draw_draft())
    new = draw_draft("v2")
    with pytest.raises(LookalikeError, match=r"raters are at v1 since .* say --supersede"):
        put(gate, new)
    assert gate.open().id == old.campaign
    assert put(gate, new, supersede=True).superseded == "v1"
    assert gate.open(old.campaign).state.state == "superseded"


def test_thresholds_may_change_until_the_first_rating_and_not_after(draw_draft, gate):
    draft = draw_draft()
    put(gate, draft)
    lower = gate.policy(tau=0.4)
    assert resumable(gate.store, "prod", draft.binding, lower) is None
    campaign = gate.open()
    rating = Rating(draft.plan.live[0].task_id, "ann", 3, 1.0)
    RatingLog(gate.store, campaign.prefix).append_many(
        [Record.of(rating, campaign=campaign.id, source="web", at=gate.now)]
    )
    found = resumable(gate.store, "prod", draft.binding, lower)
    assert found is not None
    assert found.policy_changed == ("tau",)
    assert "the policy was changed after the first rating (tau)" in found.problems[0]
