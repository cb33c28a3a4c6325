"""From valid ratings to a soft score for each pair, with what the raters are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.files import sha256_bytes
from components.human_eval.agreement import krippendorff_alpha
from components.human_eval.config import GateConfig
from components.human_eval.dawid_skene import UNKNOWN, fit
from components.human_eval.history import History, combine, is_earlier
from components.human_eval.plan import CANDIDATE, Pair, Plan
from components.human_eval.raters import (
    CANT_TELL,
    SIMILAR,
    RaterReport,
    judge_raters,
    youden_lower_bound,
)
from components.human_eval.ratings import SIMULATED_PREFIX, Rating

Ints = npt.NDArray[np.int64]
_FOLDS = 5


@dataclass(frozen=True)
class Labels:
    """What the ratings say.

    Attributes:
        scores: Probability in [0, 1] of "similar" or better, for each completed live task.
        needed: Valid ratings still needed, for each live task that is not complete.
        cant_tell: Completed tasks that nobody can tell; they score 0 for the candidate and 1 for
            the incumbent.
        raters: What is known of every rater.
        counted: Live labels that count, by rater.
        gold_positives: Positive golds with enough counted ratings, earlier campaigns' included.
            Crops of the query itself are not among them: they are too easy to measure by.
        gold_negatives: Negative golds with enough counted ratings.
        youden: Youden's J of the aggregated label on these golds; None without golds.
        youden_bound: Its lower bound.
        alpha: Krippendorff's ordinal alpha of the counted live labels; None where undefined.
        simulated: Whether a simulated rater's label counts.
        cached: Completed live tasks that took no rating in this campaign.
        earlier: Pairs that only earlier campaigns judged, of those that still count.
    """

    scores: Mapping[str, float]
    needed: Mapping[str, int]
    cant_tell: frozenset[str]
    raters: tuple[RaterReport, ...]
    counted: Mapping[str, int]
    gold_positives: int
    gold_negatives: int
    youden: float | None
    youden_bound: float | None
    alpha: float | None
    simulated: bool
    cached: frozenset[str] = frozenset()
    earlier: int = 0


@dataclass(frozen=True)
class Screening:
    """Who counts, and what is still to be rated; cheap enough to ask between assignments.

    Attributes:
        pairs: Live pairs and golds by task id.
        rater_ids: One a rater.
        reports: What is known of every rater.
        tasks: int [counted ratings]: index into `pairs`.
        raters: int [counted ratings]: index into `rater_ids`.
        grades: int [counted ratings]: 0 to 3, or `CANT_TELL`.
        graded: int [pairs]: counted grades.
        unsure: int [pairs]: counted "can't tell".
        needed: int [pairs]: counted ratings still needed; 0 for golds and earlier pairs.
        fitted: bool [counted ratings]: whether the raters' matrices are fitted on it.
        own: bool [counted ratings]: whether it came in during this campaign.
    """

    pairs: tuple[Pair, ...]
    rater_ids: tuple[str, ...]
    reports: tuple[RaterReport, ...]
    tasks: Ints
    raters: Ints
    grades: Ints
    graded: Ints
    unsure: Ints
    needed: Ints
    fitted: npt.NDArray[np.bool_]
    own: npt.NDArray[np.bool_]

    def still_needed(self) -> dict[str, int]:
        """Returns the ratings still needed, for each live task that is not complete."""
        return {self.pairs[i].task_id: int(self.needed[i]) for i in np.flatnonzero(self.needed)}


def screen(
    plan: Plan,
    ratings: Sequence[Rating],
    config: GateConfig,
    history: History | None = None,
    extra: Mapping[str, int] | None = None,
) -> Screening:
    """Judges the raters and counts what is complete.

    Args:
        plan: The sampling plan.
        ratings: Valid ratings of its tasks, at most one a rater and task, in any order.
        config: The policy.
        history: Earlier judgements that the campaign is bound to.
        extra: Ratings wanted beyond the policy's, by task: disputed pairs.
    """
    evidence = combine(plan.pairs, ratings, history or History())
    pairs = tuple(sorted(evidence.pairs, key=lambda pair: pair.task_id))
    number = {pair.task_id: index for index, pair in enumerate(pairs)}
    rows = sorted(
        zip(
            evidence.ratings,
            evidence.fitted,
            (index < len(ratings) for index in range(len(evidence.ratings))),
            strict=True,
        ),
        key=lambda row: (row[0].task_id, row[0].rater_id),
    )
    ordered = [row[0] for row in rows]
    fitted = np.array([row[1] for row in rows], dtype=bool)
    own = np.array([row[2] for row in rows], dtype=bool)
    rater_ids = tuple(sorted({rating.rater_id for rating in ordered}))
    rater_number = {rater_id: index for index, rater_id in enumerate(rater_ids)}
    tasks = np.array([number[rating.task_id] for rating in ordered], dtype=np.int64)
    raters = np.array([rater_number[rating.rater_id] for rating in ordered], dtype=np.int64)
    grades = np.array(
        [CANT_TELL if rating.grade is None else rating.grade for rating in ordered], dtype=np.int64
    )
    reports = judge_raters(
        rater_ids, tasks, raters, grades, _gold_grades(pairs),
        least_golds=config.qualification_golds,
        gold_youden=config.gold_youden,
        peer_youden=config.peer_youden,
    )  # fmt: skip
    staying = np.array([report.standing == "counted" for report in reports], dtype=bool)
    keep = staying[raters] if len(raters) else np.zeros(0, dtype=bool)
    tasks, raters, grades, fitted, own = (
        column[keep] for column in (tasks, raters, grades, fitted, own)
    )
    graded = np.bincount(tasks[grades != CANT_TELL], minlength=len(pairs))
    unsure = np.bincount(tasks[grades == CANT_TELL], minlength=len(pairs))
    wanted = config.ratings_per_pair + np.where(unsure > 0, config.cant_tell_extra, 0)
    if extra:
        wanted = wanted + np.array([extra.get(pair.task_id, 0) for pair in pairs], dtype=np.int64)
    needed = np.where(_judged(pairs), np.maximum(wanted - graded - unsure, 0), 0)
    return Screening(
        pairs, rater_ids, reports, tasks, raters, grades, graded, unsure, needed, fitted, own
    )


def _gold_grades(pairs: Sequence[Pair]) -> Ints:
    return np.array([UNKNOWN if p.gold is None else p.gold for p in pairs], dtype=np.int64)


def _judged(pairs: Sequence[Pair]) -> npt.NDArray[np.bool_]:
    """Returns which pairs are judged now: no golds, nothing that only the history holds."""
    return np.array([p.gold is None and not is_earlier(p.task_id) for p in pairs], dtype=bool)


def aggregate(
    plan: Plan,
    ratings: Sequence[Rating],
    config: GateConfig,
    history: History | None = None,
    extra: Mapping[str, int] | None = None,
) -> Labels:
    """Judges the raters, then the pairs; everything is worked out anew from all ratings.

    Args: as of `screen`.
    """
    screening = screen(plan, ratings, config, history, extra)
    pairs, grades, tasks = screening.pairs, screening.grades, screening.tasks
    golds = _gold_grades(pairs)
    live = _judged(pairs)
    # Of five ratings, three that cannot tell: the pair cannot be told.
    hopeless = (screening.needed == 0) & (screening.unsure > screening.graded)
    done = live & (screening.needed == 0)
    table = _Table(
        pairs, tasks, screening.raters, grades, golds, screening.graded, screening.fitted
    )
    posterior = table.fit(np.zeros(len(pairs), dtype=bool), np.ones(len(tasks), dtype=bool))
    similar = np.clip(posterior[:, SIMILAR:].sum(axis=1), 0.0, 1.0)
    on_candidate = np.array([pair.side == CANDIDATE for pair in pairs], dtype=bool)
    similar = np.where(hopeless, np.where(on_candidate, 0.0, 1.0), similar)
    positives, negatives, index, bound = _gold_quality(table, screening.rater_ids, config)
    counted = Counter(screening.raters[live[tasks]].tolist())
    use = live[tasks] & (grades != CANT_TELL)
    fresh = np.bincount(tasks[screening.own], minlength=len(pairs)) > 0
    return Labels(
        scores={pairs[i].task_id: float(similar[i]) for i in np.flatnonzero(done)},
        needed=screening.still_needed(),
        cant_tell=frozenset(pairs[i].task_id for i in np.flatnonzero(done & hopeless)),
        raters=screening.reports,
        counted={screening.rater_ids[rater]: count for rater, count in sorted(counted.items())},
        gold_positives=positives,
        gold_negatives=negatives,
        youden=index,
        youden_bound=bound,
        alpha=krippendorff_alpha(tasks[use], grades[use], level="ordinal", categories=4),
        simulated=any(rating.simulated for rating in ratings)
        or any(rater_id.startswith(SIMULATED_PREFIX) for rater_id in screening.rater_ids),
        cached=frozenset(pairs[i].task_id for i in np.flatnonzero(done & ~fresh)),
        earlier=int(
            (
                ~live
                & (golds == UNKNOWN)
                & (screening.graded + screening.unsure >= config.ratings_per_pair)
            ).sum()
        ),
    )


@dataclass(frozen=True)
class _Table:
    """Counted ratings as arrays."""

    pairs: Sequence[Pair]
    tasks: Ints
    raters: Ints
    grades: Ints
    golds: Ints
    graded: Ints
    fitted: npt.NDArray[np.bool_]

    def fit(
        self, unclamped: npt.NDArray[np.bool_], use: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float64]:
        """Returns the posterior [tasks, 4], with the given golds treated as unknown."""
        # Yesterday's results had another share of similar ones: they must not lend their prior.
        names = [
            "gold"
            if pair.gold is not None
            else f"{is_earlier(pair.task_id)}\0{pair.stratum}\0{pair.side}"
            for pair in self.pairs
        ]
        groups = {name: index for index, name in enumerate(sorted(set(names)))}
        # A pair with one rating would only teach the model what that rater already thinks.
        use = use & (self.grades != CANT_TELL) & (self.graded[self.tasks] >= 2) & self.fitted
        return fit(
            self.tasks[use],
            self.raters[use],
            self.grades[use],
            groups=np.array([groups[name] for name in names], dtype=np.int64),
            clamped=np.where(unclamped, UNKNOWN, self.golds),
            tolerance=1e-8,
        ).posterior


def _gold_quality(
    table: _Table, rater_ids: Sequence[str], config: GateConfig
) -> tuple[int, int, float | None, float | None]:
    """Returns positive and negative golds, J of the aggregated label, and its lower bound.

    A gold is labelled as a live pair would be: from as many ratings, without knowing its grade, by
    matrices fitted without it. More ratings, or its own answer, would flatter the label.
    """
    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero((table.golds[table.tasks] != UNKNOWN) & table.fitted):
        rows.setdefault(int(table.tasks[row]), []).append(int(row))
    ticket = {task: sha256_bytes(table.pairs[task].task_id.encode()) for task in rows}
    chosen: dict[int, list[int]] = {}
    for task, mine in rows.items():
        mine.sort(
            key=lambda r: sha256_bytes(f"{ticket[task]}{rater_ids[int(table.raters[r])]}".encode())
        )
        easy = table.pairs[task].source == "crop"
        if len(mine) >= config.ratings_per_pair and not easy:
            chosen[task] = mine[: config.ratings_per_pair]
    hits = rejections = positives = negatives = 0
    for fold in range(_FOLDS):
        held = [task for task in chosen if int(ticket[task][:8], 16) % _FOLDS == fold]
        if not held:
            continue
        unclamped = np.zeros(len(table.pairs), dtype=bool)
        unclamped[held] = True
        use = ~unclamped[table.tasks]
        use[[row for task in held for row in chosen[task]]] = True
        posterior = table.fit(unclamped, use)
        for task in held:
            told = int((table.grades[chosen[task]] != CANT_TELL).sum()) >= 2
            similar = float(posterior[task, SIMILAR:].sum()) >= 0.5
            if table.golds[task] >= SIMILAR:
                positives += 1
                hits += told and similar
            else:
                negatives += 1
                rejections += told and not similar
    if not positives or not negatives:
        return positives, negatives, None, None
    bound = youden_lower_bound(hits, positives, rejections, negatives, alpha=config.alpha)
    return positives, negatives, hits / positives + rejections / negatives - 1.0, bound
