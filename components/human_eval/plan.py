"""The sampling plan: what is rated, in which order it counts, and what is a gold. Written once.

A plan is bound to the digests of candidate and incumbent. Raters see `tasks.jsonl` alone: neither
its ids, nor its order, nor the names of the images say which system a result came from or what is
a gold. `plan.json` says so, and stays private.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from components.contracts.errors import InputError

SCHEMA = 1
CANDIDATE = "candidate"
INCUMBENT = "incumbent"
WHOLE = "whole"
POOLED = "other departments"


@dataclass(frozen=True)
class Pair:
    """One query image beside one result image, rated once whatever asks for it.

    Attributes:
        task_id: What raters know it by.
        query_id: The query.
        item_id: The result.
        query_image: Path of the copied image in the campaign.
        result_image: Path of the copied image in the campaign.
        stratum: The guarded department of the query, or `POOLED`: with the side, whose class prior
            the pair has.
        side: `candidate` or `incumbent`: what counts when nobody can tell.
        gold: The known grade of a gold; None for a live pair.
    """

    task_id: str
    query_id: str
    item_id: str
    query_image: str
    result_image: str
    stratum: str
    side: str
    gold: int | None = None


@dataclass(frozen=True)
class Draw:
    """One sampled query with the result slots that are rated.

    Attributes:
        query_id: The query.
        department: Its department.
        stream: `WHOLE`, or the department that it was drawn for in addition.
        tasks: The rated slots.
        empty: Slots without a result; each counts 0, as a shopper sees nothing there.
    """

    query_id: str
    department: str
    stream: str
    tasks: tuple[str, ...]
    empty: int = 0


@dataclass(frozen=True)
class Comparison:
    """One result that the candidate added and one that it removed, for the same query.

    Attributes:
        query_id: The query.
        added: Task of the added result.
        removed: Task of the removed result.
    """

    query_id: str
    added: str
    removed: str


@dataclass(frozen=True)
class Plan:
    """Everything about a campaign that is fixed before the first rating.

    Attributes:
        version: The candidate.
        manifest_digest: SHA-256 of the candidate's manifest.
        incumbent: What it is compared with; empty when there is none.
        incumbent_digest: SHA-256 of the incumbent's manifest; empty when there is none.
        guideline: The version of the guidelines.
        policy_digest: SHA-256 of the policy in force.
        seed: Of every random choice.
        sampling: `census` or `traffic`.
        churn: Traffic-weighted share of changed result slots; None without comparable results.
        guarded: The guarded departments; the others are pooled.
        traffic: Share of traffic by department.
        products: Products by department.
        pairs: Live pairs and golds, by task id.
        draws: In the recorded order.
        comparisons: In the recorded order.
        notes: What a reader of the verdict should know.
    """

    version: str
    manifest_digest: str
    incumbent: str
    incumbent_digest: str
    guideline: str
    policy_digest: str
    seed: int
    sampling: str
    churn: float | None
    guarded: tuple[str, ...]
    traffic: Mapping[str, float]
    products: Mapping[str, int]
    pairs: tuple[Pair, ...]
    draws: tuple[Draw, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def golds(self) -> tuple[Pair, ...]:
        """The golds, by task id."""
        return tuple(pair for pair in self.pairs if pair.gold is not None)

    @property
    def live(self) -> tuple[Pair, ...]:
        """The pairs to be judged, by task id."""
        return tuple(pair for pair in self.pairs if pair.gold is None)

    def recorded_tasks(self) -> tuple[str, ...]:
        """Returns the live tasks in the order in which they count: where raters should begin."""
        order: dict[str, None] = {}
        comparisons = iter(self.comparisons)
        for draw in self.draws:
            order.update(dict.fromkeys(draw.tasks))
            # Interleaved, so that the streams grow together.
            comparison = next(comparisons, None)
            if comparison:
                order.update({comparison.added: None, comparison.removed: None})
        for comparison in comparisons:
            order.update({comparison.added: None, comparison.removed: None})
        return tuple(order)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, source: str) -> Plan:
        """Reads the JSON form.

        Raises:
            InputError: It is of another schema or not a whole plan, or names a task that it lacks.
        """
        if value.get("schema") != SCHEMA:
            raise InputError(
                f"{source}: expected schema {SCHEMA}, received {value.get('schema')!r}; "
                "a newer lookalike may have written this plan"
            )
        given = {key: entry for key, entry in value.items() if key != "schema"}
        try:
            plan = cls(
                **{
                    **given,
                    "guarded": tuple(given["guarded"]),
                    "notes": tuple(given["notes"]),
                    "pairs": tuple(Pair(**pair) for pair in given["pairs"]),
                    "draws": tuple(
                        Draw(**{**draw, "tasks": tuple(draw["tasks"])}) for draw in given["draws"]
                    ),
                    "comparisons": tuple(Comparison(**entry) for entry in given["comparisons"]),
                }
            )
        except (TypeError, KeyError) as error:
            raise InputError(f"{source}: not a sampling plan ({error})") from None
        known = {pair.task_id for pair in plan.live}
        if not known.issuperset(plan.recorded_tasks()):
            raise InputError(f"{source}: a draw names a task that the plan does not hold")
        return plan

    def rater_view(self) -> list[dict[str, str]]:
        """Returns what raters may see of each task, sorted by its meaningless id."""
        return [
            {
                "task_id": pair.task_id,
                "query_image": pair.query_image,
                "result_image": pair.result_image,
            }
            for pair in sorted(self.pairs, key=lambda pair: pair.task_id)
        ]
