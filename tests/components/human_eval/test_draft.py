"""Drafts: whole or absent, and checked when they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.contracts.errors import InputError
from components.human_eval.ask import draw
from components.human_eval.draft import draft_json, read_draft


@pytest.fixture
def draw_draft(gate, tmp_path):
    def make(version="v1", **overrides):
        return draw(
            gate.store, "prod", gate.binding(version), gate.material(version),
            gate.policy(**overrides), folder=tmp_path / "drafts" / version, raters="web",
            now=gate.now,
        )  # fmt: skip

    return make


def test_a_draft_is_read_as_it_was_written(draw_draft):
    draft = draw_draft()
    assert read_draft(draft.folder) == draft
    assert not list(draft.folder.parent.glob(".*"))
    images = {path.name for path in (draft.folder / "images").iterdir()}
    assert images == {
        Path(name).name
        for pair in draft.plan.pairs
        for name in (pair.query_image, pair.result_image)
    }


def test_the_cost_is_three_ratings_a_live_pair_that_is_not_known(draw_draft):
    draft = draw_draft()
    shown = draft_json(draft)
    assert shown["pairs"] == len(draft.plan.live)
    assert (shown["ratings_at_most"], shown["ratings_saved"]) == (3 * shown["pairs"], 0)
    assert shown["campaign"] == draft.id
    json.dumps(shown)


def test_a_changed_file_is_refused_by_name(draw_draft):
    draft = draw_draft()
    (draft.folder / "tasks.jsonl").write_bytes(b"{}\n")
    with pytest.raises(InputError, match=r"tasks\.jsonl: changed since the draft was written"):
        read_draft(draft.folder)


def test_another_policy_than_the_plans_is_refused(draw_draft):
    draft = draw_draft()
    source = draft.folder / "draft.json"
    value = json.loads(source.read_text())
    value["policy"]["tau"] = 0.1
    source.write_text(json.dumps(value))
    with pytest.raises(InputError, match="the policy is not the one"):
        read_draft(draft.folder)


def test_what_is_no_draft_is_refused(tmp_path):
    (tmp_path / "draft.json").write_text("{}")
    with pytest.raises(InputError, match="not a campaign's draft"):
        read_draft(tmp_path)


def test_an_image_that_changed_leaves_no_draft(draw_draft, gate, tmp_path):
    material = gate.material()
    path = material.evaluation / "results" / "candidate.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    other = tmp_path / "other.png"
    other.write_bytes(Path(lines[0]["image"]).read_bytes() + b" ")
    lines[0]["image"] = str(other)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = tmp_path / "drafts" / "changed"
    with pytest.raises(InputError, match="is not the one that was indexed"):
        draw(
            gate.store, "prod", gate.binding(), material, gate.policy(), folder=folder,
            raters="web", now=gate.now,
        )  # fmt: skip
    assert not folder.exists()
