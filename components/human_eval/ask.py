"""From a candidate's recorded answers to a campaign: reads the record, draws, publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from components.contracts.catalog import (
    ITEMS_FILE,
    QUERIES_FILE,
    TAXONOMY_FILE,
    Query,
    read_items,
    read_queries,
)
from components.contracts.errors import InputError
from components.contracts.taxonomy import Taxonomy
from components.human_eval.answers import (
    CANDIDATE_FILE,
    INCUMBENT_FILE,
    Answer,
    decode_answers,
    read_answers,
)
from components.human_eval.campaign import (
    ANSWERS_FILE,
    OUTCOME_FILE,
    Campaign,
    campaign_ids,
    open_campaign,
)
from components.human_eval.conclude import judgements_prefix
from components.human_eval.config import GateConfig
from components.human_eval.draft import Draft, write_draft
from components.human_eval.earlier import AnchorAnswers, Earlier, Outcome, best_of, refused_of
from components.human_eval.history import History, Judgement, decode
from components.human_eval.judge import evaluate
from components.human_eval.pairs import Binding, Shop
from components.human_eval.rating_log import RatingLog
from components.human_eval.rating_records import Record
from components.human_eval.sampling import draw_plan
from components.human_eval.simulated import Truth, run_panel
from components.registry import swap
from components.registry.campaigns import campaign_prefix
from components.registry.object_store import ObjectNotFoundError, ObjectStore


@dataclass(frozen=True)
class Material:
    """What a campaign is drawn from: two steps' artifacts.

    Attributes:
        evaluation: The evaluate step's, with both systems' answers.
        checked: The catalog step's.
    """

    evaluation: Path
    checked: Path

    def shop(self) -> Shop:
        """Returns the checked catalog."""
        return Shop(
            read_items(self.checked / ITEMS_FILE), Taxonomy.read(self.checked / TAXONOMY_FILE)
        )

    def photos(self) -> list[Query]:
        """Returns the shopper photos; none when the catalog came without."""
        path = self.checked / QUERIES_FILE
        return read_queries(path) if path.exists() else []


def read_earlier(
    store: ObjectStore, channel: str, config: GateConfig, *, now: datetime, simulated: bool
) -> Earlier:
    """Reads what the channel's earlier campaigns leave to a new one.

    Args:
        store: The registry's store.
        channel: The channel.
        config: The policy.
        now: The time.
        simulated: Whether simulated raters' judgements count.

    Raises:
        InputError: Something on record cannot be read: nothing is saved by guessing.
    """
    outcomes = read_outcomes(store, channel)
    anchor = best_of(
        outcomes,
        now=now,
        days=config.anchor_days,
        margin=config.anchor_margin,
        simulated=simulated,
        quarantined=swap.read_state(store, channel).quarantine,
    )
    answers: dict[str, tuple[str, tuple[str, ...]]] = {}
    if anchor.version:
        best = next(
            entry
            for entry in outcomes
            if entry.manifest_digest == anchor.manifest_digest and entry.status == "pass"
        )
        key = f"{campaign_prefix(channel, best.campaign)}{ANSWERS_FILE}"
        answers = decode_answers(store.read(key)[0], source=key)
    panel = None
    if outcomes and config.sampling == "traffic":
        last = max(outcomes, key=lambda entry: (entry.at, entry.campaign))
        panel = open_campaign(store, channel, last.campaign).plan
    return Earlier(
        history=_history(store, channel, config, now=now, simulated=simulated),
        panel=panel,
        anchor=AnchorAnswers(anchor, answers) if anchor.version else None,
        refused=refused_of(outcomes, now=now, days=config.refused_days),
    )


def read_outcomes(store: ObjectStore, channel: str) -> list[Outcome]:
    """Returns how the channel's campaigns ended; those that never did are not among them."""
    found = []
    for name in campaign_ids(store, channel):
        key = f"{campaign_prefix(channel, name)}{OUTCOME_FILE}"
        try:
            found.append(Outcome.from_bytes(store.read(key)[0], source=key))
        except ObjectNotFoundError:
            continue
    return found


def _history(
    store: ObjectStore, channel: str, config: GateConfig, *, now: datetime, simulated: bool
) -> History:
    oldest = (now - timedelta(days=max(config.history_days, config.gold_days) + 1)).timestamp()
    everything: list[Judgement] = []
    for info in store.list(judgements_prefix(channel, config.guideline)):
        # A copied registry has younger files than judgements; never older ones.
        if info.updated >= oldest:
            everything.extend(decode(store.read(info.key)[0], source=info.key))
    return History.recent(
        everything,
        now=now,
        live_days=config.history_days,
        gold_days=config.gold_days,
        simulated=simulated,
    )


def draw(
    store: ObjectStore,
    channel: str,
    binding: Binding,
    material: Material,
    config: GateConfig,
    *,
    folder: Path,
    raters: str,
    now: datetime,
    retrained: bool = False,
) -> Draft:
    """Draws a campaign into a folder; publishes nothing.

    Args:
        store: The registry's store, for what earlier campaigns leave.
        channel: The channel.
        binding: What is judged against what.
        material: What it is drawn from.
        config: The policy.
        folder: Gets the campaign.
        raters: `web` or `simulated`.
        now: The time.
        retrained: Whether the encoder was trained from scratch.

    Raises:
        InputError: An input cannot be used.
    """
    if raters not in ("web", "simulated"):
        raise InputError(f"raters: expected web or simulated, received {raters!r}")

    def answers(path: Path) -> dict[str, Answer]:
        source = material.evaluation / path
        return read_answers(source, kind=config.query_kind, results=config.results)

    earlier = read_earlier(store, channel, config, now=now, simulated=raters == "simulated")
    candidate = answers(CANDIDATE_FILE)
    before = None
    if binding.incumbent and (material.evaluation / INCUMBENT_FILE).exists():
        before = answers(INCUMBENT_FILE) or None
    missing = [
        Answer(q.query_id, "shopper", q.image, q.content_hash, q.taxon_id, q.product_id, ())
        for q in material.photos()
        if config.query_kind != "item" and q.query_id not in candidate
    ]
    shop = material.shop()
    plan, book = draw_plan(
        binding, candidate=candidate, incumbent=before, missing=missing, shop=shop,
        config=config, earlier=earlier, retrained=retrained,
    )  # fmt: skip
    return write_draft(
        folder, plan, book, config, earlier.history, candidate.values(), raters=raters,
        titles={item.item_id: item.title for item in shop.items},
    )  # fmt: skip


def let_simulated_raters_rate(
    campaign: Campaign, material: Material, *, now: datetime, problems: Sequence[str] = ()
) -> int:
    """Lets simulated raters do what is to be done; through the log, as people's answers come.

    Returns:
        How many ratings they gave.
    """
    if campaign.state.closed or campaign.problems or problems:
        return 0
    log = RatingLog(campaign.store, campaign.prefix)
    shop = material.shop()
    truth = Truth.of(shop.items, material.photos(), shop.taxonomy)
    given = [entry.record.rating() for entry in log.read() if entry.record is not None]
    fresh = run_panel(
        campaign.plan,
        truth,
        campaign.config,
        given,
        campaign.history,
        undecided=lambda labels: (
            evaluate(campaign, labels, campaign.config, now=now)[0].status == "undecided"
        ),
        alpha=campaign.alpha,
    )
    return log.append_many(
        [Record.of(rating, campaign=campaign.id, source="simulated", at=now) for rating in fresh]
    )
