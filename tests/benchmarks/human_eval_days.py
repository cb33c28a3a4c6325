"""Days of a shop that changes: what the judgement cache saves, with the gate's own planning code.

A shop of 2,000 queries in 8 departments; every day a tenth of the result slots shows another item,
no better and no worse. Each day's campaign is planned with what the days before have left, and
rated in the order in which the gate issues work, until it passes. Labels are right, so that the
count hangs on planning alone; the thresholds go without the allowance for measurement, as in the
row of the whole gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from components.contracts.catalog import Item
from components.contracts.files import sha256_bytes
from components.contracts.taxonomy import Taxonomy
from components.human_eval.aggregate import Labels
from components.human_eval.answers import Answer, Result
from components.human_eval.config import GateConfig
from components.human_eval.decision import decide
from components.human_eval.earlier import Earlier
from components.human_eval.evidence import components, look
from components.human_eval.history import History, Judgement
from components.human_eval.issue import wanted
from components.human_eval.pairs import Binding, Shop
from components.human_eval.plan import Plan
from components.human_eval.sampling import draw_plan

START = datetime(2026, 11, 1, tzinfo=UTC)
RATERS = ("ann", "bob", "cem")


@dataclass(frozen=True)
class Day:
    """One day's campaign.

    Attributes:
        passed: Whether it passed.
        fresh: Pairs that were rated, golds apart.
        used: Pairs that the decision rests on.
        cold: Pairs that the same plan takes without any earlier judgement.
    """

    passed: bool
    fresh: int
    used: int
    cold: int


class World:
    """The shop from day to day.

    Args:
        rng: Of everything.
        truth: Share of similar results.
        queries: How many.
        departments: How many, of equal traffic.
        churn: Share of the slots that change each day.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        truth: float = 0.86,
        queries: int = 2000,
        departments: int = 8,
        churn: float = 0.1,
    ) -> None:
        self.rng, self.churn, self.truth = rng, churn, truth
        rows = ["taxon_id,parent_id,name", "root,,Everything"]
        rows += [f"d{n},root,Department {n}" for n in range(departments)]
        self.taxonomy = Taxonomy.parse("\n".join(rows).encode())
        self.names = [f"q{n:05d}" for n in range(queries)]
        self.taxon = {name: f"d{n % departments}" for n, name in enumerate(self.names)}
        total = 1 / 0.3 - 1
        self.chance = rng.beta(truth * total, (1 - truth) * total, queries)
        self.relevant: dict[str, bool] = {}
        self.items: dict[str, Item] = {}
        self.results = [[self._item(number) for _ in range(5)] for number in range(len(self.names))]

    def _item(self, number: int) -> str:
        item = f"i{len(self.items):07d}"
        self.relevant[item] = bool(self.rng.random() < self.chance[number])
        content = sha256_bytes(item.encode())
        self.items[item] = Item(item, f"{item}.jpg", content, self.taxon[self.names[number]], item)
        return item

    def change(self) -> None:
        """Lets a day pass."""
        for number, shown in enumerate(self.results):
            for slot in range(5):
                if self.rng.random() < self.churn:
                    shown[slot] = self._item(number)

    def answers(self) -> dict[str, Answer]:
        """Returns what the system answers today."""
        return {
            name: Answer(
                name, "shopper", f"{name}.jpg", sha256_bytes(name.encode()), self.taxon[name],
                name,
                tuple(
                    Result(item, item, f"{item}.jpg", self.items[item].content_hash)
                    for item in shown
                ),
            )
            for name, shown in zip(self.names, self.results, strict=True)
        }  # fmt: skip

    def shop(self) -> Shop:
        """Returns the catalog: another view of each query's product is what golds are made of."""
        views = [
            Item(f"view-{name}", f"view-{name}.jpg", sha256_bytes(f"view-{name}".encode()),
                 self.taxon[name], name)
            for name in self.names
        ]  # fmt: skip
        return Shop([*views, *self.items.values()], self.taxonomy)


def rate(
    plan: Plan, world: World, config: GateConfig, earlier: int, *, cached: bool = True
) -> tuple[bool, set[str], set[str]]:
    """Rates a campaign until it is decided; returns passed, tasks rated, tasks judged."""
    truth = {pair.task_id: float(world.relevant[pair.item_id]) for pair in plan.live}
    judged = set(plan.cached) if cached else set()
    fresh: set[str] = set()
    while True:
        labels = Labels(
            scores={task: truth[task] for task in judged},
            needed={task: 3 for task in truth if task not in judged},
            cant_tell=frozenset(), raters=(), counted={}, gold_positives=100,
            gold_negatives=100, youden=1.0, youden_bound=0.9, alpha=None, simulated=False,
            earlier=earlier if cached else 0,
        )  # fmt: skip
        parts = components(plan, labels, config)
        when = look(plan, labels, config, created=START, now=START)
        checks = decide(parts, alpha=config.alpha, look=when)
        if when.allowed and all(check.status == "pass" for check in checks):
            return True, fresh, judged
        if any(check.status in ("fail", "expired") for check in checks):
            return False, fresh, judged
        batch = wanted(plan, labels, config)
        if not batch:
            return False, fresh, judged
        fresh.update(batch)
        judged.update(batch)


def days(
    rng: np.random.Generator, number: int, *, departments: int = 8, cold: bool = False
) -> Iterator[Day]:
    """Yields one campaign a day; the first one is cold.

    Args:
        rng: Of everything.
        number: Days.
        departments: Guarded departments.
        cold: Whether to work out as well what each day would take without earlier judgements.
    """
    config = GateConfig(measurement_allowance=0.0, anchor_required=False)
    world = World(rng, departments=departments)
    before: dict[str, Answer] | None = None
    said: list[Judgement] = []
    panel: Plan | None = None
    for day in range(number):
        now = START + timedelta(days=day)
        history = History.recent(
            said, now=now, live_days=config.history_days, gold_days=config.gold_days,
            simulated=False,
        )  # fmt: skip
        answers = world.answers()
        binding = Binding(f"v{day}", sha256_bytes(f"{rng.random()}".encode()),
                          f"v{day - 1}" if day else "", "b" * 64 if day else "")  # fmt: skip
        plan, _ = draw_plan(
            binding, candidate=answers, incumbent=before, missing=(), shop=world.shop(),
            config=config, earlier=Earlier(history, panel),
        )  # fmt: skip
        shown = {pair.images for pair in plan.live if pair.cached}
        earlier = len({entry.images for entry in history.judgements} - shown)
        passed, fresh, judged = rate(plan, world, config, earlier)
        alone = len(rate(plan, world, config, 0, cached=False)[1]) if cold else 0
        yield Day(passed, len(fresh), len(judged), alone)
        at = (now + timedelta(hours=5)).isoformat()
        said = list(history.judgements)
        for pair in plan.live:
            if pair.task_id in fresh:
                said += [
                    Judgement(*pair.images, pair.stratum, pair.side, None, "", rater, 3, 3.0, at)
                    for rater in RATERS
                ]
        panel, before = plan, answers
        world.change()
