"""A campaign's directory: whole or absent, bound to what it judges, resumed by the same candidate.

```
current.json                 the campaign that is running
<campaign>/campaign.json     what it is bound to, its policy, the digest of the plan
<campaign>/plan.json         private: order, sides, golds
<campaign>/tasks.jsonl       what raters see
<campaign>/images/           copies, so that the campaign outlives the shop's images
<campaign>/assignments.csv   seat,position,task_id: work laid out for people
<campaign>/label_studio.json the same tasks for Label Studio
<campaign>/ratings.csv       what came back: task_id,rater_id,grade,seconds
<campaign>/state.json        running, decided or superseded
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import (
    fresh_directory,
    read_json,
    sha256_bytes,
    sha256_file,
    write_atomically,
    write_json,
    write_json_lines,
)
from components.contracts.images import local_path
from components.human_eval.assignments import live_work, qualification
from components.human_eval.config import GateConfig
from components.human_eval.pairs import Binding
from components.human_eval.plan import Plan

PLAN_FILE = "plan.json"
TASKS_FILE = "tasks.jsonl"
RATINGS_FILE = "ratings.csv"
_CAMPAIGN_FILE = "campaign.json"
_STATE_FILE = "state.json"
_CURRENT_FILE = "current.json"
DrawPlan = Callable[[], tuple[Plan, dict[str, str]]]


@dataclass(frozen=True)
class Campaign:
    """An open campaign.

    Attributes:
        directory: Where it lies.
        plan: Its plan.
        created: When the plan was written.
        problems: Why it must not pass, such as a plan that was changed; one sentence each.
        superseded_by: The version of the newer candidate; empty when there is none.
        refused: Campaigns of this channel that did not pass in the last 30 days.
    """

    directory: Path
    plan: Plan
    created: datetime
    problems: tuple[str, ...]
    superseded_by: str
    refused: int

    @property
    def ratings(self) -> Path:
        """Where the ratings are."""
        return self.directory / RATINGS_FILE


def campaign_id(binding: Binding, guideline: str) -> str:
    """Returns the name of the campaign about exactly this."""
    text = f"{binding.manifest_digest}:{binding.incumbent_digest}:{guideline}"
    return sha256_bytes(text.encode())[:16]


def open_campaign(
    root: Path, binding: Binding, config: GateConfig, draw: DrawPlan, *, now: datetime
) -> Campaign:
    """Resumes the campaign about this candidate and incumbent, or draws and writes a new one.

    One campaign runs in a channel: opening another supersedes it, and says so in its state.

    Args:
        root: The channel's campaigns.
        binding: What is judged against what.
        config: The policy.
        draw: Draws the plan and says which images to copy; called for a new campaign alone.
        now: The time, with its zone.
    """
    directory = _decided_before_promotion(root, binding) or root / campaign_id(
        binding, config.guideline
    )
    if (directory / _CAMPAIGN_FILE).exists() and not (directory / RATINGS_FILE).exists():
        record = read_json(directory / _CAMPAIGN_FILE)
        if record["policy_digest"] != config.digest:
            # Nobody has rated yet, so nothing was chosen in the light of the ratings.
            shutil.rmtree(directory)
    if not (directory / _CAMPAIGN_FILE).exists():
        _create(directory, config, draw, now)
    if _state(directory)["state"] != "superseded":
        _supersede_others(root, directory, binding)
    return _read(root, directory, config, now)


def _create(directory: Path, config: GateConfig, draw: DrawPlan, now: datetime) -> None:
    plan, images = draw()
    building = fresh_directory(directory.with_name(f".{directory.name}.building"))
    (building / "images").mkdir()
    for name, uri in sorted(images.items()):
        try:
            data = local_path(uri).read_bytes()
        except OSError as error:
            raise InputError(
                f"{uri}: the image cannot be copied into the campaign ({error.strerror})"
            ) from None
        if not sha256_bytes(data).startswith(Path(name).stem):
            raise InputError(
                f"{uri}: the image is not the one that was indexed (its SHA-256 differs); run the "
                "pipeline again on the changed catalog"
            )
        (building / name).write_bytes(data)
    write_json(building / PLAN_FILE, plan.to_json())
    write_json_lines(building / TASKS_FILE, plan.rater_view())
    _lay_out_work(building, plan, config)
    write_json(
        building / _CAMPAIGN_FILE,
        {
            "schema": 1,
            "created": now.isoformat(),
            "plan_digest": sha256_file(building / PLAN_FILE),
            "policy_digest": config.digest,
            "policy": config.to_json(),
        },
    )
    if directory.exists():
        shutil.rmtree(directory)
    building.replace(directory)


def _lay_out_work(directory: Path, plan: Plan, config: GateConfig) -> None:
    """Writes the work for people: who rates what in which order, and the Label Studio import."""
    seats = [f"seat-{number:02d}" for number in range(1, config.seats + 1)]
    first = qualification(plan, seats, config)
    everything = {pair.task_id: config.ratings_per_pair for pair in plan.live}
    seen = {seat: set(tasks) for seat, tasks in first.items()}
    then = live_work(plan, everything, seats, seen, config)
    lines = ["seat,position,task_id"]
    for seat in seats:
        for position, task in enumerate([*first[seat], *then[seat]], start=1):
            lines.append(f"{seat},{position},{task}")
    write_atomically(directory / "assignments.csv", "\n".join(lines) + "\n")
    tasks = [{"data": record} for record in plan.rater_view()]
    write_atomically(directory / "label_studio.json", json.dumps(tasks, indent=1) + "\n")


def _read(root: Path, directory: Path, config: GateConfig, now: datetime) -> Campaign:
    record = read_json(directory / _CAMPAIGN_FILE)
    plan_path = directory / PLAN_FILE
    plan = Plan.from_json(read_json(plan_path), source=str(plan_path))
    problems = []
    if sha256_file(plan_path) != record["plan_digest"]:
        problems.append("the sampling plan was changed after it was recorded")
    if record["policy_digest"] != config.digest:
        changed = sorted(
            key
            for key, value in config.to_json().items()
            if record["policy"].get(key) != value and key not in ("policy", "seats", "panel")
        )
        problems.append(
            f"the policy was changed after the first rating ({', '.join(changed) or 'settings'}): "
            "thresholds are chosen before the ratings are seen"
        )
    state = _state(directory)
    return Campaign(
        directory,
        plan,
        datetime.fromisoformat(record["created"]),
        tuple(problems),
        str(state.get("superseded_by", "")),
        _refused(root, directory, now),
    )


def _state(directory: Path) -> Mapping[str, Any]:
    path = directory / _STATE_FILE
    if not path.exists():
        return {"state": "running"}
    value = read_json(path)
    if not isinstance(value, dict):
        raise LookalikeError(f"{path}: expected the campaign's state, received something else")
    return value


def _campaigns(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"[!.]*/{_CAMPAIGN_FILE}"))


def _decided_before_promotion(root: Path, binding: Binding) -> Path | None:
    """Returns the decided campaign of a candidate that has meanwhile become the incumbent itself.

    Running the pipeline again after a promotion must give the verdict that led to it.
    """
    if binding.manifest_digest != binding.incumbent_digest:
        return None
    for directory in _campaigns(root):
        plan = read_json(directory / PLAN_FILE)
        if (
            plan.get("manifest_digest") == binding.manifest_digest
            and _state(directory).get("status") == "pass"
        ):
            return directory
    return None


def _supersede_others(root: Path, directory: Path, binding: Binding) -> None:
    for other in _campaigns(root):
        if other != directory and _state(other)["state"] == "running":
            write_json(
                other / _STATE_FILE,
                {**_state(other), "state": "superseded", "superseded_by": binding.version},
            )
    write_json(root / _CURRENT_FILE, {"campaign": directory.name, **asdict(binding)})


def _refused(root: Path, directory: Path, now: datetime) -> int:
    count = 0
    for other in _campaigns(root):
        state = _state(other)
        if other == directory or state.get("status") not in ("fail", "expired"):
            continue
        count += now - datetime.fromisoformat(state["judged"]) <= timedelta(days=30)
    return count


def record_outcome(campaign: Campaign, status: str, *, now: datetime) -> None:
    """Writes what a look gave; a campaign with a decision runs no longer."""
    state = "running" if status == "undecided" else "decided"
    if campaign.superseded_by:
        return
    write_json(
        campaign.directory / _STATE_FILE,
        {"state": state, "status": status, "judged": now.isoformat()},
    )
