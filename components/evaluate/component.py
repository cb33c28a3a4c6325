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
    min_index_recall_at_10: float = 0.98,
    min_coverage: float = 0.95,
    margin: float = 0.02,
    min_overlap: float = 0.05,
    max_near_duplicates: float = 0.2,
    max_search_p95_ms: float = 0.0,
    max_server_memory_mb: float = 8192.0,
    seed: int = 0,
) -> str:
    """Measures the candidate against truth and against the incumbent, in the server's own hands.

    Shopper photos and catalog images are asked as queries, one image a product; the real server
    downloads the candidate into an empty directory, with nothing but its own image's packages, and
    must give the recorded answers over HTTP. The verdict is written to the registry.

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
        min_overlap: Smallest share of the incumbent's first 10 results that stay, where the
            encoder is another one, 0 to 1.
        max_near_duplicates: Largest share of the first 10 results that show what one above them
            shows, 0 to 1.
        max_search_p95_ms: Largest 95th percentile of a search by photo, in milliseconds; 0 for
            off.
        max_server_memory_mb: Largest memory of the server, in MiB; 0 for off.
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
        margin=margin, min_overlap=min_overlap, max_near_duplicates=max_near_duplicates,
        max_search_p95_ms=max_search_p95_ms, max_server_memory_mb=max_server_memory_mb, seed=seed,
    )  # fmt: skip
    for name, value in figures.items():
        metrics.log_metric(name, value)
    return status
