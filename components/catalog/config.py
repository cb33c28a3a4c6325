"""The settings of the catalog step."""

from __future__ import annotations

from dataclasses import dataclass

from components.contracts.errors import InputError
from components.contracts.images import ImageLimits


@dataclass(frozen=True)
class CatalogConfig:
    """What the catalog step lets through, and when it believes the crowd.

    Attributes:
        max_reject_share: Largest share in [0, 1] of items, of queries and of votes (each table
            apart) that may be set aside before the step stops; one bad row never stops it.
        max_removed_share: Largest share in [0, 1] of the live version's items that may be missing
            from the catalog before the step stops; 1 for never. From half of it on people are told.
        max_drift: Largest distance in [0, 1] by which labels, image sizes, formats or brightness
            may have moved since the live version (total variation: the share of items that would
            have to change to undo it) before the step stops; 1 for never, half of it as above.
        ancestor_confidence: Smallest probability in [0, 1] that a node needs to become an item's
            label; when no leaf reaches it, the deepest ancestor that does is taken.
        suspect_confidence: Smallest probability in [0, 1] of the crowd's own label at which its
            disagreement with a curated label is listed as a suspected catalog error.
        em_iterations: Most rounds of expectation-maximisation over the votes.
        em_tolerance: Largest change of any probability at which the rounds end.
        prior_votes: Votes' worth of belief that a worker is like the average one; it keeps a
            worker with three votes from being called perfect or hopeless.
        min_worker_reliability: Smallest probability in [0, 1] of being right at which a worker's
            votes count; who lies below is set aside as a spammer.
        min_judged_votes: Votes that a worker must have cast before being called a spammer.
        proposal_workers: Different reliable workers that a proposed node needs to be a candidate.
        proposal_items: Different items that a proposed node needs to be a candidate.
        proposal_agreement: Smallest share in [0, 1] of the proposals for its items, below the same
            parent, that must ask for the proposed node.
        reading_threads: Images read at the same time.
        max_image_bytes: Largest encoded image, in bytes.
        max_image_pixels: Largest width x height, in pixels.
        min_image_side: Smallest width and height, in pixels.
    """

    max_reject_share: float = 0.02
    max_removed_share: float = 0.3
    max_drift: float = 0.3
    ancestor_confidence: float = 0.8
    suspect_confidence: float = 0.9
    em_iterations: int = 50
    em_tolerance: float = 1e-4
    prior_votes: float = 4.0
    min_worker_reliability: float = 0.2
    min_judged_votes: int = 20
    proposal_workers: int = 3
    proposal_items: int = 5
    proposal_agreement: float = 0.6
    reading_threads: int = 8
    max_image_bytes: int = 20 * 1024 * 1024
    max_image_pixels: int = 50_000_000
    min_image_side: int = 8

    def __post_init__(self) -> None:
        """Refuses settings that could not be meant."""
        for name in (
            "max_reject_share",
            "max_removed_share",
            "max_drift",
            "ancestor_confidence",
            "suspect_confidence",
            "min_worker_reliability",
            "proposal_agreement",
        ):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"catalog.{name}: expected a share from 0 to 1, received {value}")
        if self.ancestor_confidence <= 0.5:
            raise InputError(
                "catalog.ancestor_confidence: expected more than 0.5 (below it two nodes could "
                f"both be the label), received {self.ancestor_confidence}"
            )
        for name in (
            "em_iterations",
            "proposal_workers",
            "proposal_items",
            "reading_threads",
            "min_image_side",
        ):
            if getattr(self, name) < 1:
                raise InputError(
                    f"catalog.{name}: expected 1 or more, received {getattr(self, name)}"
                )
        if self.prior_votes <= 0:
            raise InputError(
                f"catalog.prior_votes: expected more than 0, received {self.prior_votes}"
            )

    @property
    def image_limits(self) -> ImageLimits:
        """The bounds in the form that `components.contracts.images` takes."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels, self.min_image_side)
