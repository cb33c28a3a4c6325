"""A campaign before anybody rates: drawn into a folder, to be looked at and then published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError
from components.contracts.files import (
    fresh_directory,
    read_json,
    sha256_bytes,
    sha256_file,
    write_atomically,
    write_json,
    write_json_lines,
)
from components.contracts.images import BadImageError, read_image
from components.contracts.web_addresses import shown_uri
from components.human_eval.answers import Answer, encode_answers
from components.human_eval.assignments import live_work, qualification
from components.human_eval.campaign import (
    ANSWERS_FILE,
    HISTORY_FILE,
    PLAN_FILE,
    SEALED,
    TASKS_FILE,
    TITLES_FILE,
    campaign_id,
)
from components.human_eval.config import GateConfig
from components.human_eval.history import History
from components.human_eval.label_studio import tasks_of
from components.human_eval.pairs import Binding, PairBook, stem_of
from components.human_eval.plan import Plan, image_stem

DRAFT_FILE = "draft.json"


@dataclass(frozen=True)
class Draft:
    """A campaign in a folder.

    Attributes:
        folder: Where it lies.
        plan: Its plan.
        config: Its policy.
        raters: `web` or `simulated`.
    """

    folder: Path
    plan: Plan
    config: GateConfig
    raters: str

    @property
    def binding(self) -> Binding:
        """What is judged against what."""
        plan = self.plan
        return Binding(plan.version, plan.manifest_digest, plan.incumbent, plan.incumbent_digest)

    @property
    def id(self) -> str:
        """What it will be called."""
        digest = sha256_file(self.folder / PLAN_FILE)
        return campaign_id(self.binding, self.config.guideline, digest)

    def cost(self) -> dict[str, int]:
        """Returns what it may cost: pairs, ratings, and the ratings that are spared."""
        live, each = self.plan.live, self.config.ratings_per_pair
        cached = len(self.plan.cached)
        return {
            "queries": len(self.plan.draws),
            "comparisons": len(self.plan.comparisons)
            + len(self.plan.anchor.comparisons if self.plan.anchor else ()),
            "golds": len(self.plan.golds),
            "pairs": len(live),
            "pairs_cached": cached,
            "ratings_at_most": (len(live) - cached) * each,
            "ratings_saved": cached * each,
        }


def write_draft(
    folder: Path,
    plan: Plan,
    book: PairBook,
    config: GateConfig,
    history: History,
    answers: Iterable[Answer],
    *,
    raters: str,
    titles: Mapping[str, str] | None = None,
) -> Draft:
    """Writes a campaign's files, images included, into a folder that becomes whole at once.

    Args:
        folder: Where to.
        plan: The plan.
        book: Its images.
        config: The policy.
        history: Earlier judgements that count for it.
        answers: What the candidate answered.
        raters: `web` or `simulated`.
        titles: What the shop calls its items, by item id; raters see a title when they ask for it.

    Raises:
        InputError: An image is missing, or is not the one that was indexed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = fresh_directory(folder.with_name(f".{folder.name}.building"))
    (building / "images").mkdir()
    for name, uri in sorted(book.images.items()):
        (building / name).write_bytes(_image(name, uri))
    for name, data in sorted(book.made.items()):
        (building / name).write_bytes(data)
    write_json(building / PLAN_FILE, plan.to_json())
    write_json_lines(building / TASKS_FILE, plan.rater_view())
    write_atomically(building / HISTORY_FILE, history.encode())
    write_atomically(building / ANSWERS_FILE, encode_answers(answers))
    write_atomically(building / "label_studio.json", tasks_of(plan))
    named = titles or {}
    write_json(
        building / TITLES_FILE,
        {pair.task_id: named[pair.item_id] for pair in plan.pairs if named.get(pair.item_id)},
    )
    _lay_out_work(building, plan, config)
    write_json(
        building / DRAFT_FILE,
        {
            "schema": 1,
            "raters": raters,
            "policy": config.to_json(),
            "sealed": {name: sha256_file(building / name) for name in SEALED},
        },
    )
    if folder.exists():
        shutil.rmtree(folder)
    building.replace(folder)
    return Draft(folder, plan, config, raters)


def _image(name: str, uri: str) -> bytes:
    try:
        data = read_image(uri)
    except BadImageError as error:
        raise InputError(f"the image cannot be copied into the campaign: {error}") from None
    if stem_of(sha256_bytes(data)) != image_stem(name):
        raise InputError(
            f"{shown_uri(uri)}: the image is not the one that was indexed (its SHA-256 "
            "differs); run the pipeline again on the changed catalog"
        )
    return data


def _lay_out_work(directory: Path, plan: Plan, config: GateConfig) -> None:
    """Writes the work for people who rate without the application: who rates what, in order."""
    seats = [f"seat-{number:02d}" for number in range(1, config.seats + 1)]
    first = qualification(plan, seats, config)
    everything = {pair.task_id: config.ratings_per_pair for pair in plan.live if not pair.cached}
    seen = {seat: set(tasks) for seat, tasks in first.items()}
    then = live_work(plan, everything, seats, seen, config)
    lines = ["seat,position,task_id"]
    for seat in seats:
        for position, task in enumerate([*first[seat], *then[seat]], start=1):
            lines.append(f"{seat},{position},{task}")
    write_atomically(directory / "assignments.csv", "\n".join(lines) + "\n")


def read_draft(folder: Path) -> Draft:
    """Reads a campaign from a folder.

    Raises:
        InputError: The folder holds no draft, or a file is not as it was written.
    """
    source = folder / DRAFT_FILE
    value: dict[str, Any] = read_json(source)
    try:
        sealed, raters, policy = value["sealed"], str(value["raters"]), value["policy"]
        changed = [name for name in SEALED if sha256_file(folder / name) != sealed[name]]
    except (KeyError, TypeError, OSError) as error:
        raise InputError(f"{source}: not a campaign's draft ({error!r})") from None
    if changed:
        raise InputError(
            f"{folder / changed[0]}: changed since the draft was written (its SHA-256 differs); "
            "draw the plan again"
        )
    plan = Plan.from_json(read_json(folder / PLAN_FILE), source=str(folder / PLAN_FILE))
    config = GateConfig.from_json(policy)
    if config.digest != plan.policy_digest:
        raise InputError(f"{source}: the policy is not the one that the plan was drawn by")
    return Draft(folder, plan, config, raters)


def draft_json(draft: Draft) -> dict[str, Any]:
    """Returns what a person or a program wants to know of a draft before publishing it."""
    plan = draft.plan
    anchor = plan.anchor
    return {
        "campaign": draft.id,
        **asdict(draft.binding),
        "raters": draft.raters,
        "policy": draft.config.policy,
        "sampling": plan.sampling,
        "churn": plan.churn,
        "margin": plan.margin,
        "anchor": None if anchor is None else anchor.version,
        "guarded": list(plan.guarded),
        "refused_lately": plan.refused,
        **draft.cost(),
        "notes": json.loads(json.dumps(plan.notes)),
    }
