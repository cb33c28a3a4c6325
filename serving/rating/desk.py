"""The desk of one campaign: gives out work, takes answers, and keeps in step with the registry.

An answer is written to the log before it is acknowledged. Everything else (what is in memory, the
leases) can be lost or be a moment behind: the log decides.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from components.contracts.errors import LookalikeError
from components.human_eval.aggregate import Labels, aggregate
from components.human_eval.campaign import TITLES_FILE, open_campaign
from components.human_eval.history import combine, without
from components.human_eval.issue import worth_rating
from components.human_eval.judge import evaluate
from components.human_eval.owner_actions import Action, Actions, read_actions, record_action
from components.human_eval.plan import Pair
from components.human_eval.rating_log import DoubledError, RatingLog
from components.human_eval.rating_records import CORRECTION_WINDOW, Entry, Record
from components.human_eval.ratings import CANT_TELL
from components.registry.backoff import Backoff
from components.registry.campaigns import CampaignState, campaign_prefix, read_state
from components.registry.object_store import ObjectNotFoundError, ObjectStore
from serving.rating import standing
from serving.rating.admission import (
    RefusedError,
    before_at,
    check_correction,
    check_form,
    read_form,
    record_of,
)
from serving.rating.board import Board
from serving.rating.leases import Leases
from serving.rating.links import Secrets
from serving.rating.pictures import Pictures
from serving.rating.standing import Progress, Totals

# Looks that work is given out ahead of: raters who are faster than others need not wait.
_AHEAD = (1, 2, 4, 8)


@dataclass(frozen=True)
class Task:
    """One pair as it is shown to one rater.

    Attributes:
        pair: What is judged.
        token: What the form sends back: signed, for this rater, task and revision.
        revision: 0, or the number of the correction.
        grade: The answer that is being corrected; empty for a fresh one.
        following: The pair after it, whose pictures may be fetched ahead; None when unknown.
    """

    pair: Pair
    token: str
    revision: int = 0
    grade: str = ""
    following: Pair | None = None


class Desk:
    """One campaign at work. Safe among threads."""

    def __init__(
        self,
        store: ObjectStore,
        channel: str,
        campaign: str,
        keys: Secrets,
        *,
        allow_simulated: bool,
        lease_seconds: float = 600.0,
        batch: int = 10,
        picture_side: int = 900,
    ) -> None:
        """Reads the campaign and everything that was rated so far.

        Args:
            store: The registry's store.
            channel: The channel.
            campaign: The campaign's id.
            keys: What forms are signed with.
            allow_simulated: Whether the channel's policy lets simulated raters take part.
            lease_seconds: How long a rater holds the pairs given out, in seconds.
            batch: Live pairs given out at once.
            picture_side: Longest side of a picture, in pixels.

        Raises:
            LookalikeError: There is no such campaign, or its plan is not the recorded one.
        """
        self.channel = channel
        self.campaign = campaign
        self.prefix = campaign_prefix(channel, campaign)
        self.refused: Counter[str] = Counter()
        self._store = store
        self._keys = keys
        self._lease_seconds = lease_seconds
        self._batch = batch
        # A rater waits for this: a store that is away is said to be away.
        patience = Backoff(first_s=0.05, cap_s=1.0, deadline_s=8.0)
        opened = open_campaign(store, channel, campaign)
        if opened.problems:
            raise LookalikeError(
                f"campaign {campaign}: {'; '.join(opened.problems)}; nobody is asked to rate it: "
                "publish the candidate again"
            )
        self._opened = opened
        self.created = opened.created
        self.config = opened.config
        self.plan = opened.plan
        # Who allows simulated raters is the channel; who asks for them is the campaign.
        self.allow_simulated = allow_simulated and opened.record.raters == "simulated"
        self.titles = _titles(store, self.prefix)
        self._history = opened.history
        self.log = RatingLog(store, self.prefix, backoff=patience)
        self.leases = Leases(store, self.prefix, backoff=patience)
        self.pictures = Pictures(store, self.prefix, side=picture_side)
        self.board = Board(
            self.plan,
            self.config,
            campaign=campaign,
            created=self.created,
            allow_simulated=self.allow_simulated,
            earlier=combine(self.plan.pairs, (), self._history).ratings,
        )
        self.state = CampaignState()
        self._lock = threading.RLock()
        self._writing: dict[str, threading.Lock] = {}
        self._dirty = True
        self.catch_up()
        self.judge()

    # In step with the registry.

    def catch_up(self) -> None:
        """Takes in what other replicas, the owner and the gate have written."""
        entries = self.log.follow()
        self.leases.follow()
        actions = read_actions(self._store, self.prefix)
        state = read_state(self._store, self.channel, self.campaign)
        with self._lock:
            self.board.apply(entries)
            if actions != self.board.actions:
                self.board.set_actions(actions)
            self.state = state
            self._dirty = self._dirty or bool(entries)

    def judge(self) -> None:
        """Has the gate itself say whose labels count and what is worth rating; if there is news."""
        with self._lock:
            if not self._dirty:
                return
            self._dirty = False
            ratings, actions = self.board.ratings(), self.board.actions
        history = without(self._history, actions.banned)
        labels = aggregate(self.plan, ratings, self.config, history, actions.extra)
        # The rule of `issue`, as for files: what is decided already is asked of nobody.
        listed = worth_rating(
            self.plan, labels, self.config,
            undecided=self._undecided, alpha=self._opened.alpha, ahead=_AHEAD,
            asked_again=actions.extra,
        )  # fmt: skip
        with self._lock:
            self.board.take_reports(labels.raters)
            self.board.take_list(None if self.plan.sampling == "census" else listed)

    def deadline(self) -> datetime:
        """Returns when the campaign expires."""
        return self.created + timedelta(hours=self.config.deadline_hours)

    # Work.

    def _undecided(self, labels: Labels) -> bool:
        """Returns whether a look now would find the evidence wanting."""
        now = datetime.now(UTC)
        verdict, _ = evaluate(self._opened, labels, self.config, now=now, own=True)
        return verdict.status == "undecided"

    def open(self) -> bool:
        """Returns whether answers still count."""
        return not self.state.closed and datetime.now(UTC) < self.deadline()

    def next_task(self, rater_id: str, *, now: float) -> Task | None:
        """Returns what a rater does next; None when there is nothing at the moment."""
        queue = self._queue(rater_id, now)
        if not queue:
            queue = self._refill(rater_id, now)
        if not queue:
            return None
        following = self.board.pairs[queue[1]] if len(queue) > 1 else None
        return self._task(rater_id, queue[0], 0, now, following=following)

    def correction(self, rater_id: str, *, now: float) -> Task | None:
        """Returns the rater's last answer to be given anew; None when it cannot be any more."""
        with self._lock:
            last = self.board.last_answer(rater_id)
            # After feedback on a gold everybody would be right.
            if last is None or self.board.phase(rater_id) == standing.QUALIFYING:
                return None
            if self.board.progress(rater_id, now=now).rated < 1:
                return None
        if now - before_at(last) > CORRECTION_WINDOW.total_seconds():
            return None
        grade = CANT_TELL if last.grade is None else str(last.grade)
        return self._task(rater_id, last.task_id, last.revision + 1, now, grade=grade)

    def may_correct(self, rater_id: str, *, now: float) -> bool:
        """Returns whether the rater's last answer can still be changed."""
        return self.correction(rater_id, now=now) is not None

    def phase(self, rater_id: str) -> str:
        """Returns where a rater stands; see `board.Progress.phase`."""
        with self._lock:
            return self.board.phase(rater_id)

    def progress(self, rater_id: str, *, now: float) -> Progress:
        """Returns how far a rater and the campaign are."""
        with self._lock:
            return self.board.progress(rater_id, now=now)

    def visible(self, rater_id: str, *, now: float) -> list[Pair]:
        """Returns the pairs whose pictures a rater may see now."""
        held = self.leases.of(rater_id, now=now)
        with self._lock:
            tasks = [task for task in held if task in self.board.pairs]
            last = self.board.last_answer(rater_id)
            if last is not None:
                tasks.append(last.task_id)
            return [self.board.pairs[task] for task in tasks]

    def practice(
        self, rater_id: str, *, now: float
    ) -> tuple[Pair, Record, bool, Progress, tuple[int, int]] | None:
        """Returns the rater's last practice pair with what came of it; None out of practice.

        Returns:
            The gold, the answer, whether it was right, the progress, and how many of how many
            were right so far.
        """
        with self._lock:
            last = self.board.last_answer(rater_id)
            progress = self.board.progress(rater_id, now=now)
            if last is None or self.board.pairs[last.task_id].gold is None or progress.rated:
                return None
            pair = self.board.pairs[last.task_id]
            right, score = self.board.right(last), self.board.gold_score(rater_id)
            return pair, last, right, progress, score

    def _queue(self, rater_id: str, now: float) -> list[str]:
        held = self.leases.of(rater_id, now=now)
        with self._lock:
            return self._unanswered(rater_id, held)

    def _unanswered(self, rater_id: str, tasks: tuple[str, ...]) -> list[str]:
        phase = self.board.phase(rater_id)
        if phase not in (standing.QUALIFYING, standing.LIVE):
            return []
        return [
            task
            for task in tasks
            if task in self.board.pairs
            and self.board.answer(rater_id, task) is None
            and (phase == standing.LIVE or self.board.pairs[task].gold is not None)
            and self.board.worth_rating(task)
        ]

    def _refill(self, rater_id: str, now: float) -> list[str]:
        """Gives out more work, and takes back what another replica gave out at the same moment."""
        for _ in range(4):
            with self._lock:
                tasks = self.board.work(rater_id, self._claims(rater_id, now), self._batch)
            if not tasks:
                return []
            self.leases.take(rater_id, tasks, expires=now + self._lease_seconds)
            self.leases.follow()
            with self._lock:
                claims = self._claims(rater_id, now)
                kept = [
                    task
                    for task in tasks
                    if self.board.pairs[task].gold is not None
                    or self.board.needed(task) > claims.get(task, 0)
                ]
            if len(kept) != len(tasks):
                self.leases.take(rater_id, kept, expires=now + self._lease_seconds)
            if kept:
                return kept
        return []

    def _claims(self, rater_id: str, now: float) -> Mapping[str, int]:
        """Returns how many other raters hold each task and have not answered it yet."""
        counts: Counter[str] = Counter()
        for lease in self.leases.active(now=now):
            # Who may not go on holds nothing.
            if lease.rater_id != rater_id and self.board.phase(lease.rater_id) == standing.LIVE:
                counts.update(
                    task for task in lease.tasks if self.board.answer(lease.rater_id, task) is None
                )
        return counts

    def _task(
        self,
        rater_id: str,
        task: str,
        revision: int,
        now: float,
        *,
        grade: str = "",
        following: Pair | None = None,
    ) -> Task:
        token = self._keys.sign(
            "assignment",
            {
                "k": self.campaign,
                "n": rater_id,
                "t": task,
                "v": revision,
                "i": int(now * 1000),
            },
        )
        return Task(self.board.pairs[task], token, revision, grade, following)

    # Answers.

    def rate(self, rater_id: str, token: str, grade: str, *, now: float) -> Record:
        """Takes an answer; when this returns, it is kept whatever happens to this process.

        Args:
            rater_id: Who has signed in.
            token: The form's.
            grade: `0` to `3` or `cant_tell`.
            now: Seconds since 1970.

        Returns:
            The answer that stands.

        Raises:
            RefusedError: It is not taken; the reason is counted.
            ObjectStoreError: The store does not take it; try again.
        """
        try:
            record = self._checked(rater_id, token, grade, now)
            # One answer of one rater at a time: a doubled click must not race with itself.
            with self._writer(rater_id):
                try:
                    record = self.log.append(record)
                except DoubledError as error:
                    if error.first is not None:
                        self._apply(error.first)
                    raise RefusedError(
                        "doubled", "you have rated this pair before; your first answer stands"
                    ) from None
        except RefusedError as error:
            self.refused[error.reason] += 1
            raise
        self._apply(record)
        return record

    def _checked(self, rater_id: str, token: str, grade: str, now: float) -> Record:
        """Returns the record of an answer that may be taken."""
        form = read_form(self._keys, token, rater_id)
        with self._lock:
            phase = self.board.phase(rater_id)
            before = self.board.answer(rater_id, form.task) if form.revision else None
        check_form(
            form, grade, phase,
            campaign=self.campaign, tasks=self.board.pairs, open_now=self.open(), now=now,
        )  # fmt: skip
        at = now
        if form.revision:
            check_correction(form, before, now=now)
            # Clocks may step back between two answers; the order may not.
            at = max(at, before_at(before))
        return record_of(form, rater_id, grade, token, at=at, now=now)

    def _apply(self, record: Record) -> None:
        with self._lock:
            self.board.apply([Entry("", record)])
            self._dirty = True

    def _writer(self, rater_id: str) -> threading.Lock:
        with self._lock:
            return self._writing.setdefault(rater_id, threading.Lock())

    # The owner.

    def snapshot(self) -> tuple[Totals, Actions]:
        """Returns what the owner's page counts."""
        with self._lock:
            return self.board.totals(), self.board.actions

    def disputed(self, most: int) -> list[tuple[Pair, list[Record]]]:
        """Returns the pairs on which raters differ most; see `Board.disputed`."""
        with self._lock:
            return self.board.disputed(most)

    def knows_task(self, task: str) -> bool:
        """Returns whether a live pair has this id."""
        return task in self.board.pairs and self.board.pairs[task].gold is None

    def knows_rater(self, rater_id: str) -> bool:
        """Returns whether somebody of this id has rated or is banned."""
        with self._lock:
            return bool(self.board.answers_of(rater_id)) or rater_id in self.board.actions.banned

    def act(self, action: str, subject: str, *, by: str, reason: str) -> Action:
        """Records what the owner does, and lets it hold at once.

        Raises:
            InputError: It cannot be recorded so.
        """
        entry = record_action(
            self._store,
            self.prefix,
            action=action,
            subject=subject,
            by=by,
            reason=reason,
            now=datetime.now(UTC),
        )
        self.catch_up()
        return entry


def _titles(store: ObjectStore, prefix: str) -> dict[str, str]:
    """Returns the results' titles by task; a campaign without them is rated without."""
    try:
        value = json.loads(store.read(f"{prefix}{TITLES_FILE}")[0])
    except (ObjectNotFoundError, ValueError):
        return {}
    return {str(task): str(title) for task, title in value.items()}
