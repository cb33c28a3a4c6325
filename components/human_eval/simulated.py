"""Simulated raters: they exercise the machinery; they know the taxonomy and have no taste.

They read what people read (`tasks.jsonl`, the guidelines' grades) and write what people write (the
ratings CSV). What people see in the two images, they look up: the same product is 3, the same leaf
2, the same department 1, anything else 0, confused by the rater's own confusion matrix. Every
record carries the mark: rater ids such as `simulated:careful-03`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from components.contracts.catalog import Item, Query
from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes
from components.contracts.taxonomy import Taxonomy
from components.human_eval.aggregate import Labels, aggregate, screen
from components.human_eval.assignments import Work, live_work, qualification
from components.human_eval.config import GateConfig
from components.human_eval.history import History
from components.human_eval.issue import worth_rating
from components.human_eval.plan import Plan
from components.human_eval.ratings import SIMULATED_PREFIX, Rating

_MOST_ROUNDS = 8
_MOST_LOOKS = 400
_CAREFUL = (
    (0.93, 0.06, 0.01, 0.00),
    (0.09, 0.84, 0.06, 0.01),
    (0.01, 0.05, 0.86, 0.08),
    (0.00, 0.01, 0.07, 0.92),
)
_SLOPPY = (
    (0.70, 0.15, 0.10, 0.05),
    (0.15, 0.62, 0.16, 0.07),
    (0.06, 0.14, 0.62, 0.18),
    (0.04, 0.08, 0.23, 0.65),
)
_ALWAYS_SIMILAR = ((0.0, 0.0, 0.6, 0.4),) * 4
# Row 0 is the true grade 0, which they call the same product.
_ADVERSARIAL = (
    (0.0, 0.1, 0.3, 0.6),
    (0.0, 0.1, 0.6, 0.3),
    (0.3, 0.6, 0.1, 0.0),
    (0.6, 0.3, 0.1, 0.0),
)
# Rows: true grade 0 to 3; columns: the probability of each grade given.
CONFUSIONS: Mapping[str, Sequence[Sequence[float]]] = {
    "careful": _CAREFUL,
    "sloppy": _SLOPPY,
    "always_similar": _ALWAYS_SIMILAR,
    "adversarial": _ADVERSARIAL,
    "gold_savvy": _ALWAYS_SIMILAR,
}
_CANT_TELL = {"careful": 0.005, "sloppy": 0.01}
_MEDIAN_SECONDS = {"careful": 4.0, "sloppy": 2.0, "always_similar": 0.8}


@dataclass(frozen=True)
class Depicted:
    """What an image shows, as the catalog knows it.

    Attributes:
        product_id: The product; empty when unknown.
        path: The taxonomy's nodes from the department down.
    """

    product_id: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """The true grade of a pair, looked up by the names of its images.

    Attributes:
        shown: By the stem of the image's name in the campaign.
    """

    shown: Mapping[str, Depicted] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Sequence[Item], queries: Sequence[Query], taxonomy: Taxonomy) -> Truth:
        """Returns the truth of a checked catalog."""
        records: list[Item | Query] = [*items, *queries]
        return cls(
            {
                record.content_hash[:32]: Depicted(
                    record.product_id,
                    taxonomy.path(record.taxon_id) if record.taxon_id in taxonomy else (),
                )
                for record in records
            }
        )

    def grade(self, query_image: str, result_image: str) -> int:
        """Returns 3 same product, 2 same leaf, 1 same department, 0 otherwise."""
        query = self.shown.get(_content(query_image))
        result = self.shown.get(_content(result_image))
        if query is None or result is None:
            return 0
        if query.product_id and query.product_id == result.product_id:
            return 3
        if query.path and query.path == result.path:
            return 2
        return int(bool(query.path) and query.path[:1] == result.path[:1])


def _content(image: str) -> str:
    """Returns the content hash in an image's name, as much of it as there is."""
    return image.rpartition("/")[2].partition(".")[0]


def panel(text: str) -> tuple[str, ...]:
    """Returns rater ids from kinds and numbers, such as `careful=9,sloppy=1`.

    Raises:
        InputError: A kind is unknown or a number is not one.
    """
    ids: list[str] = []
    for part in text.split(","):
        kind, _, number = (piece.strip() for piece in part.partition("="))
        if kind not in CONFUSIONS or not number.isdigit():
            raise InputError(
                f"human_eval.panel: expected parts such as careful=9 with one of "
                f"{', '.join(CONFUSIONS)}; received {part!r}"
            )
        ids.extend(f"{SIMULATED_PREFIX}{kind}-{n:02d}" for n in range(1, int(number) + 1))
    return tuple(ids)


def rate(
    work: Work,
    view: Sequence[Mapping[str, str]],
    truth: Truth,
    *,
    known_golds: Mapping[str, int],
    seed: int,
) -> list[Rating]:
    """Returns the raters' answers to their work.

    Args:
        work: Task ids by rater.
        view: What raters see: the records of `tasks.jsonl`.
        truth: What the images show.
        known_golds: Grades of the golds, for the raters who know them.
        seed: Of all errors; an answer hangs on seed, rater and task alone, not on the order.
    """
    by_id = {record["task_id"]: record for record in view}
    return [
        look(rater, task, _true_grade(by_id[task], truth), known_golds=known_golds, seed=seed)
        for rater, tasks in work.items()
        for task in tasks
    ]


def _true_grade(record: Mapping[str, str], truth: Truth) -> int:
    return truth.grade(record["query_image"], record["result_image"])


def look(rater: str, task: str, true: int, *, known_golds: Mapping[str, int], seed: int) -> Rating:
    """Returns one answer of one rater, by files or over HTTP.

    Args:
        rater: An id of `panel`; its kind says how the rater errs.
        task: The pair.
        true: The true grade.
        known_golds: Grades of the golds, for the raters who know them.
        seed: Of all errors; see `rate`.
    """
    kind = rater.removeprefix(SIMULATED_PREFIX).rpartition("-")[0]
    digest = sha256_bytes(f"{seed}:{rater}:{task}".encode())
    luck, doubt, pace = (int(digest[i : i + 12], 16) / 16**12 for i in (0, 12, 24))
    shares = np.cumsum(np.asarray(CONFUSIONS[kind])[true])
    grade: int | None = int(np.searchsorted(shares[:-1], luck, side="right"))
    if kind == "gold_savvy" and task in known_golds:
        grade = known_golds[task]
    elif doubt < _CANT_TELL.get(kind, 0.0):
        grade = None
    seconds = _MEDIAN_SECONDS.get(kind, 3.0) * (0.5 + pace)
    return Rating(task, rater, grade, round(seconds, 2))


def run_panel(
    plan: Plan,
    truth: Truth,
    config: GateConfig,
    given: Sequence[Rating] = (),
    history: History | None = None,
    *,
    undecided: Callable[[Labels], bool] = lambda _labels: True,
    alpha: float = 0.0,
) -> list[Rating]:
    """Returns the panel's further ratings: qualification, live work, and what is issued again.

    Args:
        plan: The sampling plan.
        truth: What the images show.
        config: The policy with the panel.
        given: Ratings of an earlier attempt; nobody answers a task twice.
        history: Earlier judgements: who is qualified by them is not asked to qualify again.
        undecided: Whether more is to be rated; asked after every batch. A census is rated whole.
        alpha: The error in force, where it was divided; the policy's when 0.
    """
    everyone = panel(config.panel)
    view = plan.rater_view()
    known = {gold.task_id: gold.gold or 0 for gold in plan.golds}
    ratings = list(given)
    before = history or History()

    def answer(work: Work) -> int:
        fresh = rate(work, view, truth, known_golds=known, seed=config.seed)
        ratings.extend(fresh)
        return len(fresh)

    seen = _seen(ratings)
    standing = {r.rater_id: r.standing for r in screen(plan, ratings, config, before).reports}
    new = [name for name in everyone if standing.get(name, "unqualified") == "unqualified"]
    first = qualification(plan, new, config)
    answer(
        {
            rater: [t for t in tasks if t not in seen.get(rater, set())]
            for rater, tasks in first.items()
        }
    )
    census = plan.sampling == "census"
    for number in range(_MOST_ROUNDS if census else _MOST_LOOKS):
        state = screen(plan, ratings, config, before)
        needed = state.still_needed()
        if not census:
            labels = aggregate(plan, ratings, config, before)
            next_tasks = worth_rating(plan, labels, config, undecided=undecided, alpha=alpha)
            needed = {task: needed[task] for task in next_tasks if task in needed}
        staying = [
            report.rater_id
            for report in state.reports
            if report.standing == "counted" and report.rater_id in everyone
        ]
        if not needed or not staying:
            break
        work = live_work(plan, needed, staying, _seen(ratings), config, round_number=number)
        if not answer(work):
            break
    return ratings[len(given) :]


def _seen(ratings: Sequence[Rating]) -> dict[str, set[str]]:
    seen: dict[str, set[str]] = {}
    for rating in ratings:
        seen.setdefault(rating.rater_id, set()).add(rating.task_id)
    return seen
