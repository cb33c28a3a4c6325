"""Publishing a draft: the channel's running campaign, whole or not, resumed or superseding."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from components.contracts.errors import LookalikeError
from components.contracts.files import sha256_file
from components.human_eval.campaign import (
    CAMPAIGN_FILE,
    SEALED,
    Record,
    matching,
    open_campaign,
)
from components.human_eval.config import GateConfig
from components.human_eval.draft import DRAFT_FILE, Draft
from components.human_eval.pairs import Binding
from components.human_eval.rating_log import RatingLog
from components.registry import campaigns
from components.registry.backoff import Backoff, write_once
from components.registry.campaigns import Current, campaign_prefix
from components.registry.object_store import ObjectStore, PreconditionFailedError

_THREADS = 16


@dataclass(frozen=True)
class Published:
    """What became of a draft.

    Attributes:
        campaign: The campaign that raters are at.
        resumed: Whether it was there before.
        superseded: The version whose campaign was closed for it; empty for none.
        policy_changed: Settings that were changed after the first rating; it must not pass.
    """

    campaign: str
    resumed: bool = False
    superseded: str = ""
    policy_changed: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it must not pass, one sentence each."""
        if not self.policy_changed:
            return ()
        return (
            f"the policy was changed after the first rating ({', '.join(self.policy_changed)}): "
            "thresholds are chosen before the ratings are seen",
        )


def resumable(
    store: ObjectStore, channel: str, binding: Binding, config: GateConfig
) -> Published | None:
    """Returns the campaign that a new attempt with the same digests goes on with, if any.

    Thresholds may change until the first rating: nobody has chosen them in the light of one. After
    it they may not, and the campaign cannot be dodged by drawing another.
    """
    for name in matching(store, channel, binding, config.guideline):
        found = open_campaign(store, channel, name)
        if found.config.digest == config.digest:
            return Published(name, resumed=True)
        if not RatingLog(store, found.prefix).has_ratings():
            continue
        old, new = found.config.to_json(), config.to_json()
        changed = sorted(key for key in new if old.get(key) != new[key])
        kept = tuple(key for key in changed if key not in ("policy", "seats", "panel"))
        return Published(name, resumed=True, policy_changed=kept)
    return None


def publish(
    store: ObjectStore,
    channel: str,
    draft: Draft,
    *,
    now: datetime,
    who: str,
    supersede: bool,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    backoff: Backoff | None = None,
) -> Published:
    """Publishes a draft and makes it the channel's running campaign.

    Args:
        store: The registry's store.
        channel: The channel.
        draft: What to publish.
        now: The time: nothing that was rated before counts.
        who: The person or pipeline.
        supersede: Whether a campaign about another candidate that still runs is closed for it.
        progress: Told how many files of how many are there.
        backoff: How long a write is tried.

    Raises:
        LookalikeError: Another candidate's campaign runs and is not to be superseded, or somebody
            else published at the same time.
    """
    backoff = backoff or Backoff()
    found = resumable(store, channel, draft.binding, draft.config)
    if found is not None:
        return found
    current, generation = campaigns.read_current(store, channel)
    running = ""
    if current.campaign and not campaigns.read_state(store, channel, current.campaign).closed:
        running = current.version
        if not supersede:
            raise LookalikeError(
                f"channel {channel}: raters are at {current.version} since {current.since} "
                f"(campaign {current.campaign}); to close that for {draft.plan.version}, say "
                "--supersede"
            )
    prefix = campaign_prefix(channel, draft.id)
    files = sorted(path for path in draft.folder.rglob("*") if path.is_file())
    files = [path for path in files if path.name != DRAFT_FILE]
    _upload(store, prefix, draft.folder, files, backoff, progress)
    record = Record(
        now,
        draft.binding,
        draft.raters,
        draft.config.to_json(),
        draft.config.digest,
        {name: sha256_file(draft.folder / name) for name in SEALED},
    )
    # Last: whoever sees the record sees everything else.
    if not write_once(store, prefix + CAMPAIGN_FILE, record.to_bytes(), backoff):
        raise LookalikeError(f"{prefix}: somebody published the same plan at the same time")
    new = Current(
        draft.id,
        draft.plan.version,
        draft.plan.manifest_digest,
        draft.plan.incumbent,
        now.isoformat(timespec="seconds"),
    )
    try:
        campaigns.make_current(store, channel, new, generation=generation)
    except PreconditionFailedError:
        raise LookalikeError(
            f"channel {channel}: somebody else published a campaign at the same time; look at "
            "`lookalike eval status` and decide anew"
        ) from None
    if running:
        campaigns.close(
            store, channel, current.campaign, state=campaigns.SUPERSEDED, at=now, who=who,
            why=f"superseded by the newer candidate {draft.plan.version}",
            superseded_by=draft.plan.version, backoff=backoff,
        )  # fmt: skip
    return Published(draft.id, superseded=running)


def _upload(
    store: ObjectStore,
    prefix: str,
    folder: Path,
    files: list[Path],
    backoff: Backoff,
    progress: Callable[[int, int], None],
) -> None:
    def upload(path: Path) -> None:
        key = prefix + path.relative_to(folder).as_posix()
        if not write_once(store, key, path.read_bytes(), backoff):
            raise LookalikeError(f"{key}: holds something else; a campaign is never changed")

    with ThreadPoolExecutor(_THREADS) as pool:
        for done, _ in enumerate(pool.map(upload, files), start=1):
            progress(done, len(files))
