"""Parameters of the evaluate step."""

from __future__ import annotations

from dataclasses import dataclass, fields

from components.contracts.errors import InputError


@dataclass(frozen=True)
class EvaluateConfig:
    """What a candidate must show. A threshold of 0 is off, except where it says otherwise.

    Attributes:
        min_leaf_hit_at_10: Smallest share of photos with a right leaf in the first 10, 0 to 1.
        min_leaf_precision_at_10: Smallest mean share of right leaves in the first 10, photos.
        min_product_recall_at_10: Smallest share of photos with the right product in the first 10.
        min_item_leaf_precision_at_10: Smallest mean share of right leaves in the first 10, catalog
            images as queries.
        min_index_recall_at_10: Smallest recall of the index against exact search, 0 to 1.
        min_coverage: Smallest share of the checked catalog's items that are indexed, 0 to 1.
        margin: How much worse than the incumbent a figure may be, 0 to 1. Mean shares (leaf
            precision) must be shown not to be worse than that: the lower bound of the paired
            difference lies above -margin. Yes-or-no figures (hits, product recall) vary too much
            for that on a few hundred photos: they must not be shown to be worse, the upper bound
            not below -margin.
        department_margin: The same as the latter for each department, 0 to 1.
        min_department_queries: Fewest queries of a department that it is guarded by.
        max_mean_cosine: Largest mean cosine between vectors of two items; above it the encoder
            has collapsed.
        min_effective_rank: Smallest effective rank of the vectors; below it the encoder has
            collapsed.
        max_norm_drift: Largest distance of a vector's norm from 1.
        max_drift: Largest cosine distance between the vectors that one encoder gave the same
            image in the candidate and in the incumbent, 0 to 1.
        near_duplicate_cosine: From this cosine on a result repeats another one above it, 0 to 1.
        max_near_duplicates: Largest share of the first 10 results that repeat one above them.
        min_overlap: Smallest mean share of the incumbent's first 10 results that stay, where the
            candidate has another encoder, 0 to 1. Below it the answers have nothing to do with
            yesterday's, which is more often a fault than progress.
        min_overlap_same_encoder: The same where the encoder is the incumbent's and only the
            catalog has changed.
        item_queries: Most catalog images that are asked as queries.
        results_per_query: Answers written down for each query, one image a product.
        resamples: Bootstrap resamples.
        confidence: Confidence of the two-sided intervals, in (0, 1).
        server_start_seconds: Longest time until the server is ready.
        server_seconds: Longest time for all of the server's answers together.
        server_requests: Requests of each kind that latency is measured on.
        server_k: Results that timed requests ask for; each must bring as many as there are.
        max_search_p95_ms: Largest 95th percentile of a search by photo, in milliseconds.
        max_server_memory_mb: Largest resident memory of the server, in MiB, from its start to its
            last answer.
        seed: Seed of samples and resamples.
    """

    min_leaf_hit_at_10: float = 0.0
    min_leaf_precision_at_10: float = 0.0
    min_product_recall_at_10: float = 0.0
    min_item_leaf_precision_at_10: float = 0.0
    min_index_recall_at_10: float = 0.98
    min_coverage: float = 0.95
    margin: float = 0.02
    department_margin: float = 0.05
    min_department_queries: int = 20
    max_mean_cosine: float = 0.9
    min_effective_rank: float = 2.0
    max_norm_drift: float = 1e-3
    max_drift: float = 1e-3
    near_duplicate_cosine: float = 0.999
    max_near_duplicates: float = 0.2
    min_overlap: float = 0.05
    min_overlap_same_encoder: float = 0.5
    item_queries: int = 2000
    results_per_query: int = 10
    resamples: int = 2000
    confidence: float = 0.95
    server_start_seconds: float = 300.0
    server_seconds: float = 300.0
    server_requests: int = 100
    server_k: int = 10
    max_search_p95_ms: float = 0.0
    max_server_memory_mb: float = 8192.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses values without a meaning."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            share = "_at_10" in entry.name or entry.name in (
                "min_coverage",
                "margin",
                "department_margin",
                "max_mean_cosine",
                "max_drift",
                "near_duplicate_cosine",
                "max_near_duplicates",
                "min_overlap",
                "min_overlap_same_encoder",
            )
            if share and not 0 <= value <= 1:
                raise InputError(f"evaluate.{entry.name}: expected 0 to 1, received {value}")
            if value < 0:
                raise InputError(f"evaluate.{entry.name}: expected 0 or more, received {value}")
        smallest = {"results_per_query": 10, "resamples": 100, "server_requests": 1, "server_k": 1}
        for name, least in smallest.items():
            if getattr(self, name) < least:
                raise InputError(
                    f"evaluate.{name}: expected at least {least}, received {getattr(self, name)}"
                )
        if not 0 < self.confidence < 1:
            raise InputError(
                f"evaluate.confidence: expected between 0 and 1, received {self.confidence}"
            )
