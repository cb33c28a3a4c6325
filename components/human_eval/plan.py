"""The sampling plan: what is rated, in which order it counts, and what is a gold. Written once.

A plan is bound to the digests of candidate and incumbent. Raters see `tasks.jsonl` alone: neither
its ids, nor its order, nor the names of the images say which system a result came from or what is
a gold. `plan.json` says so, and stays private.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from components.contracts.errors import InputError

SCHEMA = 2
CANDIDATE = "candidate"
INCUMBENT = "incumbent"
WHOLE = "whole"
POOLED = "other departments"
# One comparison after so many queries: both kinds of evidence then suffice at about one time.
COMPARISON_PACE = 4


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
        source: Where a gold comes from: `view`, `far`, `checked` or `crop`; empty for a live pair.
            Crops of the query itself are too easy to measure the labels by.
        cached: Whether earlier judgements of the same two images count for it.
    """

    task_id: str
    query_id: str
    item_id: str
    query_image: str
    result_image: str
    stratum: str
    side: str
    gold: int | None = None
    source: str = ""
    cached: bool = False

    @property
    def images(self) -> tuple[str, str]:
        """What the pair shows, whatever it is called: the stems of its images' names."""
        return image_stem(self.query_image), image_stem(self.result_image)


@dataclass(frozen=True)
class Draw:
    """One sampled query with the result slots that are rated.

    Attributes:
        query_id: The query.
        department: Its department.
        stream: `WHOLE`, or the department that it was drawn for in addition.
        tasks: The rated slots that hold a result.
        slots: The rated slots, from 0.
        empty: Slots without a result; each counts 0, as a shopper sees nothing there.
    """

    query_id: str
    department: str
    stream: str
    tasks: tuple[str, ...]
    slots: tuple[int, ...] = ()
    empty: int = 0


@dataclass(frozen=True)
class Comparison:
    """One result that the candidate added and one that it removed, for the same query.

    Attributes:
        query_id: The query.
        added: Task of the added result; empty where the candidate shows nothing any more, which
            counts 0.
        removed: Task of the removed result.
    """

    query_id: str
    added: str
    removed: str

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks to be rated."""
        return (self.added, self.removed) if self.added else (self.removed,)


@dataclass(frozen=True)
class Anchor:
    """The best version of the last weeks: the candidate must not be much worse than that either.

    Attributes:
        version: The version; empty when there is none but the incumbent.
        manifest_digest: SHA-256 of its manifest.
        score: Its similarity when it was judged; None when it never was.
        margin: How much worse the candidate may be.
        coverage: Share of the traffic whose queries it had answered when it was judged.
        churn: Share of the result slots that changed since, by traffic; None without answers.
        comparisons: In the recorded order.
    """

    version: str = ""
    manifest_digest: str = ""
    score: float | None = None
    margin: float = 0.0
    coverage: float = 0.0
    churn: float | None = None
    comparisons: tuple[Comparison, ...] = ()


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
        margin: How much worse than the incumbent the candidate may be.
        anchor: The best version of the last weeks; None where the policy asks for none.
        refused: Campaigns of the channel that did not pass in the weeks before.
        weights: Share of the traffic by query, from which the next panel is drawn.
        departments: Department by query.
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
    margin: float = 0.02
    anchor: Anchor | None = None
    refused: int = 0
    weights: Mapping[str, float] = field(default_factory=dict)
    departments: Mapping[str, str] = field(default_factory=dict)
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
        contests = [self.comparisons, self.anchor.comparisons if self.anchor else ()]
        asked = 0

        def compare() -> None:
            nonlocal asked
            for contest in contests:
                for entry in contest[asked : asked + 1]:
                    order.update(dict.fromkeys(entry.tasks))
            asked += 1

        whole = 0
        for draw in self.draws:
            order.update(dict.fromkeys(draw.tasks))
            whole += draw.stream == WHOLE
            # Interleaved, so that the streams grow together.
            if asked * COMPARISON_PACE < whole:
                compare()
        while asked < max(len(contest) for contest in contests):
            compare()
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
                        Draw(
                            **{
                                **draw,
                                "tasks": tuple(draw["tasks"]),
                                "slots": tuple(draw["slots"]),
                            }
                        )
                        for draw in given["draws"]
                    ),
                    "comparisons": _comparisons(given["comparisons"]),
                    "anchor": None
                    if given["anchor"] is None
                    else Anchor(
                        **{
                            **given["anchor"],
                            "comparisons": _comparisons(given["anchor"]["comparisons"]),
                        }
                    ),
                }
            )
        except (TypeError, KeyError) as error:
            raise InputError(f"{source}: not a sampling plan ({error})") from None
        known = {pair.task_id for pair in plan.live}
        if not known.issuperset(plan.recorded_tasks()):
            raise InputError(f"{source}: a draw names a task that the plan does not hold")
        return plan

    @property
    def cached(self) -> frozenset[str]:
        """The live tasks that earlier judgements cover."""
        return frozenset(pair.task_id for pair in self.live if pair.cached)

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


def image_stem(path: str) -> str:
    """Returns the content hash in the name of an image in a campaign, as much of it as there is."""
    return path.rpartition("/")[2].partition(".")[0]


def _comparisons(records: Iterable[Mapping[str, Any]]) -> tuple[Comparison, ...]:
    return tuple(Comparison(**entry) for entry in records)
