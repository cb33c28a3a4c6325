"""A campaign in the registry's object store: whole or absent, bound to what it judges.

```
campaigns/<channel>/current.json               the campaign that runs (registry.campaigns)
campaigns/<channel>/<id>/campaign.json         what it is bound to, its policy; written last
campaigns/<channel>/<id>/plan.json             private: order, sides, golds
campaigns/<channel>/<id>/tasks.jsonl           what raters see
campaigns/<channel>/<id>/history.jsonl         earlier judgements that count for it
campaigns/<channel>/<id>/answers.jsonl         what the candidate answered
campaigns/<channel>/<id>/titles.json           titles of the results, hidden until asked for
campaigns/<channel>/<id>/images/...            copies, so that it outlives the shop's images
campaigns/<channel>/<id>/assignments.csv       seat,position,task_id: work laid out for people
campaigns/<channel>/<id>/label_studio.json     the same tasks for Label Studio
campaigns/<channel>/<id>/ratings/...           what came back (rating_log), and the owner's actions/
campaigns/<channel>/<id>/state.json            running, decided, superseded or expired
campaigns/<channel>/<id>/outcome.json          how it ended, written once
campaigns/<channel>/judgements/<guideline>/    what raters said, for later campaigns
```

Every object but the two states is written if absent, under an id that names the binding and the
plan. A draft killed half-way leaves objects without a `campaign.json`: nobody sees them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import sha256_bytes
from components.human_eval.config import GateConfig
from components.human_eval.history import History
from components.human_eval.pairs import Binding
from components.human_eval.plan import Plan
from components.registry import campaigns
from components.registry.campaigns import CampaignState, campaign_prefix
from components.registry.object_store import ObjectNotFoundError, ObjectStore

SCHEMA = 2
CAMPAIGN_FILE = "campaign.json"
PLAN_FILE = "plan.json"
TASKS_FILE = "tasks.jsonl"
HISTORY_FILE = "history.jsonl"
ANSWERS_FILE = "answers.jsonl"
OUTCOME_FILE = "outcome.json"
# What the shop calls the results, by task; raters see it when they ask for it.
TITLES_FILE = "titles.json"
# What campaign.json names the SHA-256 of.
SEALED = (PLAN_FILE, TASKS_FILE, HISTORY_FILE, ANSWERS_FILE)


class NoCampaignError(LookalikeError):
    """There is no such campaign."""


@dataclass(frozen=True)
class Record:
    """What `campaign.json` says.

    Attributes:
        created: When it was published: nothing that was rated before counts.
        binding: What is judged against what.
        raters: `web` or `simulated`: who may rate.
        policy: Every setting by name.
        policy_digest: What the decision hangs on, as `GateConfig.digest` gives it.
        sealed: SHA-256 by file name.
    """

    created: datetime
    binding: Binding
    raters: str
    policy: Mapping[str, Any]
    policy_digest: str
    sealed: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Returns the object's content."""
        value = {
            "schema": SCHEMA,
            "created": self.created.isoformat(),
            **asdict(self.binding),
            "raters": self.raters,
            "policy": dict(self.policy),
            "policy_digest": self.policy_digest,
            "sealed": dict(self.sealed),
        }
        return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str) -> Record:
        """Reads the object's content.

        Raises:
            InputError: It is no campaign, or one of another schema.
        """
        try:
            value = json.loads(data)
            if value["schema"] != SCHEMA:
                raise InputError(
                    f"{source}: expected schema {SCHEMA}, received {value['schema']!r}; another "
                    "version of lookalike wrote this campaign"
                )
            created = datetime.fromisoformat(value["created"])
            if created.utcoffset() is None:
                raise InputError(f"{source}: created: expected a time with its zone")
            return cls(
                created,
                Binding(*(value[name] for name in Binding.__dataclass_fields__)),
                value["raters"],
                value["policy"],
                value["policy_digest"],
                {name: str(value["sealed"][name]) for name in SEALED},
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{source}: not a campaign ({error!r})") from None


@dataclass(frozen=True)
class Campaign:
    """An open campaign.

    Attributes:
        store: The registry's store.
        channel: The channel.
        id: Its name.
        record: What it is bound to.
        plan: Its plan.
        config: The policy that was recorded with it.
        history: Earlier judgements that count for it.
        state: Where it stands.
        problems: Why it must not pass, such as a plan that was changed; one sentence each.
    """

    store: ObjectStore
    channel: str
    id: str
    record: Record
    plan: Plan
    config: GateConfig
    history: History
    state: CampaignState
    problems: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What its keys begin with."""
        return campaign_prefix(self.channel, self.id)

    @property
    def created(self) -> datetime:
        """When it was published."""
        return self.record.created

    @property
    def uri(self) -> str:
        """Where it lies, for people."""
        return f"{self.store.uri.rstrip('/')}/{self.prefix}"

    @property
    def alpha(self) -> float:
        """The error of passing in force: the policy's, or that divided among attempts."""
        share = 1 + self.plan.refused if self.config.divide_alpha else 1
        return self.config.alpha / share

    def picture(self, path: str) -> bytes:
        """Returns the bytes of one of its images.

        Raises:
            ObjectNotFoundError: There is none.
        """
        return self.store.read(self.prefix + path)[0]


def binding_id(binding: Binding, guideline: str) -> str:
    """Returns what the ids of all campaigns about exactly this begin with."""
    text = f"{binding.manifest_digest}:{binding.incumbent_digest}:{guideline}"
    return sha256_bytes(text.encode())[:12]


def campaign_id(binding: Binding, guideline: str, plan_sha256: str) -> str:
    """Returns the id of a campaign: it names the binding and the plan."""
    return f"{binding_id(binding, guideline)}-{plan_sha256[:8]}"


def campaign_ids(store: ObjectStore, channel: str) -> list[str]:
    """Returns the ids of the channel's published campaigns, in the order of their names."""
    prefix = campaign_prefix(channel)
    return [
        info.key.removeprefix(prefix).partition("/")[0]
        for info in store.list(prefix, name=CAMPAIGN_FILE)
    ]


def read_record(store: ObjectStore, channel: str, campaign: str) -> Record:
    """Reads what a campaign is bound to.

    Raises:
        NoCampaignError: There is no such campaign.
        InputError: Its record cannot be read.
    """
    key = f"{campaign_prefix(channel, campaign)}{CAMPAIGN_FILE}"
    try:
        return Record.from_bytes(store.read(key)[0], source=key)
    except ObjectNotFoundError:
        raise NoCampaignError(
            f"channel {channel}: there is no campaign {campaign!r}; "
            "`lookalike eval status --all` lists them"
        ) from None


def open_campaign(store: ObjectStore, channel: str, campaign: str) -> Campaign:
    """Opens a campaign and checks that its files are those that were recorded.

    Raises:
        NoCampaignError: There is no such campaign.
        InputError: A file of it cannot be read at all.
    """
    record = read_record(store, channel, campaign)
    prefix = campaign_prefix(channel, campaign)
    problems: list[str] = []
    found: dict[str, bytes] = {}
    for name in (PLAN_FILE, TASKS_FILE, HISTORY_FILE):
        try:
            found[name] = store.read(prefix + name)[0]
        except ObjectNotFoundError:
            raise InputError(f"{prefix}{name}: the campaign's file is missing") from None
        if sha256_bytes(found[name]) != record.sealed[name]:
            what = {
                PLAN_FILE: "the sampling plan was",
                TASKS_FILE: "what raters see was",
                HISTORY_FILE: "the earlier judgements were",
            }[name]
            problems.append(f"{what} changed after being recorded: {name} has another SHA-256")
    try:
        value = json.loads(found[PLAN_FILE])
    except ValueError as error:
        raise InputError(f"{prefix}{PLAN_FILE}: not a sampling plan ({error})") from None
    plan = Plan.from_json(value, source=f"{prefix}{PLAN_FILE}")
    config = GateConfig.from_json(dict(record.policy))
    if not config.digest == record.policy_digest == plan.policy_digest:
        problems.append("the policy is not the one that was recorded with the plan")
    bound = Binding(plan.version, plan.manifest_digest, plan.incumbent, plan.incumbent_digest)
    if bound != record.binding:
        problems.append("the plan is about another candidate or incumbent than the campaign")
    history = History.decode(
        found[HISTORY_FILE],
        source=f"{prefix}{HISTORY_FILE}",
        fitted_since=History.since(record.created, config.history_days),
    )
    return Campaign(
        store,
        channel,
        campaign,
        record,
        plan,
        config,
        history,
        campaigns.read_state(store, channel, campaign),
        tuple(problems),
    )


def matching(store: ObjectStore, channel: str, binding: Binding, guideline: str) -> list[str]:
    """Returns the campaigns about exactly this candidate and incumbent, the oldest first."""
    start = binding_id(binding, guideline)
    ids = [name for name in campaign_ids(store, channel) if name.startswith(f"{start}-")]
    return sorted(ids, key=lambda name: (read_record(store, channel, name).created, name))


def campaign_of(store: ObjectStore, channel: str, version: str = "") -> str:
    """Returns the campaign about a version: the running one, else the youngest.

    Args:
        store: The registry's store.
        channel: The channel.
        version: The candidate; empty for whichever campaign is the channel's current one.

    Raises:
        NoCampaignError: There is none.
    """
    current, _ = campaigns.read_current(store, channel)
    if current.campaign and version in ("", current.version):
        return current.campaign
    if not version:
        raise NoCampaignError(f"channel {channel}: no campaign was ever published")
    records = ((name, read_record(store, channel, name)) for name in campaign_ids(store, channel))
    ids = _youngest_first((n, r) for n, r in records if r.binding.version == version)
    if not ids:
        raise NoCampaignError(f"channel {channel}: no campaign is about {version!r}")
    return ids[0]


def passed_as_candidate(store: ObjectStore, channel: str, manifest_digest: str) -> str:
    """Returns the campaign that a version passed before it went live; empty when there is none.

    Running the pipeline again after a promotion must give the verdict that led to it.
    """
    records = ((name, read_record(store, channel, name)) for name in campaign_ids(store, channel))
    mine = ((n, r) for n, r in records if r.binding.manifest_digest == manifest_digest)
    for name in _youngest_first(mine):
        if campaigns.read_state(store, channel, name).status == "pass":
            return name
    return ""


def _youngest_first(records: Iterable[tuple[str, Record]]) -> list[str]:
    ordered = sorted(records, key=lambda entry: (entry[1].created, entry[0]), reverse=True)
    return [name for name, _ in ordered]
