"""The interface of the catalog step."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Dataset, Output

from components.contracts.container_images import TENSORFLOW


@dsl.component(base_image=TENSORFLOW, install_kfp_package=False, packages_to_install=[])
def catalog(
    catalog: str,
    taxonomy: str,
    votes: str,
    queries: str,
    registry: str,
    channel: str,
    mode: str,
    incumbent: str,
    checked: Output[Dataset],
    report: Output[HTML],
    max_reject_share: float = 0.02,
    max_removed_share: float = 0.3,
    max_drift: float = 0.3,
    max_changed_share: float = 0.2,
    ancestor_confidence: float = 0.8,
) -> NamedTuple("Outputs", [("mode", str), ("incumbent", str)]):  # type: ignore[valid-type]
    """Checks the catalog's tables and images, and gives every item one label.

    Bad rows and images are set aside with their reasons; the step stops when too many are. Votes
    become labels: a leaf, or the deepest node that the votes agree on.

    Args:
        catalog: Catalog table (CSV, JSON lines or Parquet).
        taxonomy: Taxonomy table.
        votes: Crowd votes; empty for none.
        queries: Shopper photos; empty for none.
        registry: Registry that holds what is live.
        channel: Channel whose live version is the incumbent.
        mode: auto, scratch, warm or reuse.
        incumbent: Version to compare with; `live` for what the channel points to, `none` for none.
        checked: The checked catalog.
        report: Labels, rejects with pictures, suspected catalog errors.
        max_reject_share: Largest share of rows set aside, 0 to 1.
        max_removed_share: Largest share of the live items that may be missing, 0 to 1; 1 for off.
        max_drift: Largest move of labels, image sizes or brightness since the live version, 0 to 1;
            1 for off.
        max_changed_share: Largest share of new and changed items at which auto means reuse, 0 to 1.
        ancestor_confidence: Smallest probability that a label needs, 0.5 to 1.
    """
    from components.catalog.step import run

    return run(
        catalog, taxonomy, votes, queries, registry, channel, mode, incumbent,
        checked.path, report.path, max_reject_share=max_reject_share,
        max_removed_share=max_removed_share, max_drift=max_drift,
        max_changed_share=max_changed_share, ancestor_confidence=ancestor_confidence,
    )  # fmt: skip
