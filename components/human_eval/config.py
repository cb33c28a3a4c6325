"""The policy of the gate: every threshold, cap and share, with the production defaults.

The numbers were worked out by simulation; each prevents something that did happen in one. The gate
does not weaken them by accident: what is impossible or meaningless is refused here, by name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from components.contracts.errors import InputError
from components.contracts.files import sha256_bytes

_SHARES = (
    "alpha", "tau", "floor", "measurement_allowance", "margin", "guarded_traffic_share",
    "hidden_gold_share", "gold_youden", "peer_youden", "least_youden", "most_youden",
    "most_banned", "most_rater_share", "most_cant_tell", "high_churn", "margin_retrained",
    "anchor_margin", "rotate", "rerate",
)  # fmt: skip
_COUNTS = (
    "results", "slots", "look_every", "first_look_queries", "cap_queries", "cap_department",
    "cap_non_inferiority", "cap_high_churn", "guarded_most", "ratings_per_pair", "least_raters",
    "qualification_golds", "least_golds_a_side", "gold_pool", "seats", "anchor_days",
    "history_days", "gold_days", "refused_days",
)  # fmt: skip
# Presentation and simulation may change during a campaign without touching what it decides.
_NOT_POLICY = ("seats", "panel", "policy")


@dataclass(frozen=True)
class GateConfig:
    """Everything that the gate decides by. The defaults are those of production.

    Attributes:
        policy: What to call this policy in reports.
        alpha: One-sided error of passing a candidate that is not better than the threshold.
        tau: The mean score that a candidate must exceed, in [0, 1].
        floor: The mean score that every guarded department must exceed, in [0, 1].
        measurement_allowance: Added to tau and floor, because ratings measure with an error.
        divide_alpha: Whether alpha is divided by one more than the campaigns that the channel
            refused in the last `refused_days`: who judges a borderline system again and again
            passes it sooner or later.
        refused_days: Days for which refused campaigns are counted.
        margin: How much worse than the incumbent a candidate may be, in score.
        margin_retrained: The same when the encoder was trained from scratch.
        non_inferiority: Whether an incumbent is compared with at all.
        anchor_required: Whether a pass against an incumbent also needs the best of `anchor_days`
            as an anchor; without one, quality may drift down a margin a day.
        anchor_margin: How much worse than the anchor a candidate may be, in score.
        anchor_days: How far back the best version is looked for, in days.
        query_kind: `shopper` photos, catalog `item` images, or `any`: which queries are judged.
        results: Results of a query that count, from the top, one image a product.
        sampling: `traffic`: queries drawn by traffic with replacement, `slots` random results of
            each. `census`: every query once, in a recorded random order, all results of each.
        slots: Result slots rated of each drawn query; the census rates all.
        look_every: Queries between looks.
        first_look_queries: Queries before the first look.
        first_look_pairs: Rated pairs before the first look.
        cap_queries: Most queries of the whole; the campaign expires there.
        cap_department: Most queries of one guarded department.
        cap_non_inferiority: Most comparisons with the incumbent.
        cap_high_churn: The same above `high_churn`.
        high_churn: Share of changed result slots from which the larger cap holds.
        guarded_traffic_share: Departments with at least this share of traffic are guarded.
        guarded_products: Departments with at least this many products are guarded instead; 0: go
            by traffic.
        guarded_most: Most guarded departments; the rest is pooled and guarded as one.
        deadline_hours: Hours after which a campaign expires.
        history_days: Judgements of earlier campaigns count for so many days: the raters' matrices
            are fitted on them, and pairs that they cover are not rated again.
        gold_days: A rater's answers to golds count for so many days.
        rotate: Share of the panel of queries that a new campaign draws afresh.
        rerate: Share of the pairs with earlier judgements that are rated again all the same.
        ratings_per_pair: Valid ratings a pair needs.
        cant_tell_extra: Further ratings where someone cannot tell.
        most_cant_tell: Largest share of pairs that nobody can tell.
        qualification_golds: Golds that a rater answers first, half of them positive.
        hidden_gold_share: Share of golds hidden in live work.
        least_golds_a_side: Least positive, and least negative, golds in the campaign.
        gold_pool: Least golds in the pool from which hidden ones are drawn.
        gold_youden: A rater stays with at least this Youden's J on golds.
        peer_youden: A rater stays with at least this Youden's J against the others' majority.
        least_youden: The aggregated label's J (lower bound) below which nothing is decided.
        most_youden: The aggregated label's J is not believed above this.
        most_banned: Largest share of raters banned.
        most_rater_share: Largest share of the counted labels by one rater.
        least_raters: Least raters whose labels count.
        guideline: The version of the guidelines that raters read.
        seed: Of the recorded order, the slots and the golds.
        seats: Raters that the work is laid out for.
        panel: Simulated raters by kind, such as `careful=9,sloppy=1`.
    """

    policy: str = "production"
    alpha: float = 0.05
    tau: float = 0.80
    floor: float = 0.70
    measurement_allowance: float = 0.01
    divide_alpha: bool = False
    refused_days: int = 30
    margin: float = 0.02
    margin_retrained: float = 0.03
    non_inferiority: bool = True
    anchor_required: bool = True
    anchor_margin: float = 0.03
    anchor_days: int = 28
    query_kind: str = "any"
    results: int = 5
    sampling: str = "traffic"
    slots: int = 2
    look_every: int = 25
    first_look_queries: int = 50
    first_look_pairs: int = 1000
    cap_queries: int = 2000
    cap_department: int = 400
    cap_non_inferiority: int = 800
    cap_high_churn: int = 2000
    high_churn: float = 0.20
    guarded_traffic_share: float = 0.02
    guarded_products: int = 0
    guarded_most: int = 12
    deadline_hours: float = 72.0
    history_days: int = 14
    gold_days: int = 90
    rotate: float = 0.10
    rerate: float = 0.05
    ratings_per_pair: int = 3
    cant_tell_extra: int = 2
    most_cant_tell: float = 0.05
    qualification_golds: int = 30
    hidden_gold_share: float = 0.10
    least_golds_a_side: int = 50
    gold_pool: int = 200
    gold_youden: float = 0.40
    peer_youden: float = 0.25
    least_youden: float = 0.70
    most_youden: float = 0.85
    most_banned: float = 0.40
    most_rater_share: float = 0.25
    least_raters: int = 5
    guideline: str = "1"
    seed: int = 20211
    seats: int = 12
    panel: str = "careful=9,sloppy=1,always_similar=1,gold_savvy=1"

    def __post_init__(self) -> None:
        """Refuses a policy that cannot decide, or that would decide on too little.

        Raises:
            InputError: With the name of the first field that cannot be used.
        """
        for name in _SHARES:
            self._require(name, 0.0 <= getattr(self, name) <= 1.0, "a number in [0, 1]")
        for name in _COUNTS:
            self._require(name, getattr(self, name) >= 1, "a whole number from 1 on")
        self._require("alpha", 0.0 < self.alpha <= 0.5, "a number in (0, 0.5]")
        for name in ("tau", "floor"):
            raised = getattr(self, name) + self.measurement_allowance
            self._require(name, 0.0 < raised < 1.0, "to lie in (0, 1), the allowance added")
        for name in ("margin", "margin_retrained", "anchor_margin"):
            self._require(name, getattr(self, name) > 0.0, "a number in (0, 1]")
        self._require("history_days", self.history_days <= 14, "at most 14: raters change")
        self._require("anchor_days", self.anchor_days >= 28, "at least 28")
        self._require("sampling", self.sampling in ("traffic", "census"), "'traffic' or 'census'")
        self._require(
            "query_kind",
            self.query_kind in ("shopper", "item", "any"),
            "'shopper', 'item' or 'any'",
        )
        self._require(
            "ratings_per_pair",
            self.ratings_per_pair >= 2,
            "at least 2: one rater's word is no measurement",
        )
        self._require(
            "qualification_golds",
            self.qualification_golds >= 30,
            "at least 30: fewer do not tell a careful rater from a lucky one",
        )
        self._require(
            "least_golds_a_side",
            self.least_golds_a_side >= 50,
            "at least 50: with fewer the label's quality is a guess",
        )
        self._require(
            "gold_pool",
            self.gold_pool >= 2 * self.least_golds_a_side,
            "at least twice least_golds_a_side",
        )
        self._require("slots", self.slots <= self.results, "at most `results`")
        self._require("deadline_hours", self.deadline_hours > 0.0, "more than 0 hours")
        for name, least in (("gold_youden", 0.40), ("peer_youden", 0.25), ("least_youden", 0.70)):
            self._require(name, getattr(self, name) >= least, f"at least {least}")
        for name, most in (
            ("most_youden", 0.85),
            ("most_banned", 0.40),
            ("most_rater_share", 0.25),
            ("most_cant_tell", 0.05),
        ):
            self._require(name, getattr(self, name) <= most, f"at most {most}")
        self._require("least_raters", self.least_raters >= 5, "at least 5")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise InputError(
                f"human_eval.{name}: expected {expected}, received {getattr(self, name)!r}"
            )

    @classmethod
    def demo(cls, *, tau: float, floor: float, **overrides: Any) -> GateConfig:
        """Returns the demo's own policy: a few hundred shopper photos, every result rated.

        Args:
            tau: Midway between what pixel matching and the trained encoder reach.
            floor: The same for every guarded department.
            **overrides: Any other field.
        """
        settings: dict[str, Any] = {
            "policy": "demo",
            "tau": tau,
            "floor": floor,
            "query_kind": "shopper",
            "sampling": "census",
            "slots": 5,
            "guarded_products": 20,
            "gold_pool": 100,
            # A small shop's census is judged whole; 1000 pairs may be more than it has.
            "first_look_pairs": 500,
            # 334 queries cannot show a difference of .02; .10 is what they can show.
            "margin": 0.10,
            "margin_retrained": 0.10,
            "anchor_margin": 0.15,
            "anchor_required": False,
        }
        return cls(**{**settings, **overrides})

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the decision hangs on."""
        kept = {key: value for key, value in asdict(self).items() if key not in _NOT_POLICY}
        return sha256_bytes(repr(sorted(kept.items())).encode())

    def to_json(self) -> dict[str, Any]:
        """Returns every setting by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> GateConfig:
        """Reads the settings; missing ones have their defaults.

        Raises:
            InputError: A setting is unknown or cannot be used.
        """
        unknown = sorted(set(value) - {entry.name for entry in fields(cls)})
        if unknown:
            raise InputError(f"human_eval.{unknown[0]}: there is no such setting")
        return cls(**value)
