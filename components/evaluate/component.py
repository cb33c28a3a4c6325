"""The interface of the evaluate step."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output

from components.contracts.container_images import SERVING


@dsl.component(base_image=SERVING, install_kfp_package=False, packages_to_install=[])
def evaluate(
    checked: Input[Dataset],
    embeddings: Input[Dataset],
    bundle: Input[Model],
    registry: str,
    incumbent: str,
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    verdict: Output[Markdown],
    report: Output[HTML],
    min_leaf_hit_at_10: float = 0.0,
    min_leaf_precision_at_10: float = 0.0,
    min_product_recall_at_10: float = 0.0,
    min_item_leaf_precision_at_10: float = 0.0,
    min_index_recall_at_10: float = 0.99,
    min_coverage: float = 0.95,
    margin: float = 0.02,
    seed: int = 0,
) -> str:
    """Measures the candidate against truth and against the incumbent, in the server's own hands.

    Shopper photos and catalog images are asked as queries, one image a product; the real server is
    started on a copy of the bundle and must give the recorded answers. The verdict is written to
    the registry.

    Args:
        checked: The checked catalog.
        embeddings: Vectors of items and photos.
        bundle: The candidate.
        registry: Registry that holds the incumbent and gets the verdict.
        incumbent: The live version, or none.
        evaluation: Metrics, the verdict, and the answers that raters judge.
        metrics: The figures.
        verdict: The verdict for people.
        report: By department against the incumbent; best, worst and most changed queries.
        min_leaf_hit_at_10: Smallest share of photos with a right type in the first 10; 0 for off.
        min_leaf_precision_at_10: Smallest mean share of right types in a photo's first 10; 0 for
            off.
        min_product_recall_at_10: Smallest share of photos with the right product in the first 10;
            0 for off.
        min_item_leaf_precision_at_10: The same with catalog images as queries; 0 for off.
        min_index_recall_at_10: Smallest recall of the index against exact search, 0 to 1.
        min_coverage: Smallest share of the catalog's items that are indexed, 0 to 1.
        margin: How much worse than the incumbent a figure may be, 0 to 1.
        seed: Seed of samples and bootstrap.
    """
    from components.evaluate.step import run

    status, figures = run(
        checked.path, embeddings.path, bundle.path, registry, incumbent,
        evaluation.path, verdict.path, report.path,
        min_leaf_hit_at_10=min_leaf_hit_at_10, min_leaf_precision_at_10=min_leaf_precision_at_10,
        min_product_recall_at_10=min_product_recall_at_10,
        min_item_leaf_precision_at_10=min_item_leaf_precision_at_10,
        min_index_recall_at_10=min_index_recall_at_10, min_coverage=min_coverage,
        margin=margin, seed=seed,
    )  # fmt: skip
    for name, value in figures.items():
        metrics.log_metric(name, value)
    return status
