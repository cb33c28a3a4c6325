"""The pipeline: from a catalog to a promoted index, one step after the other."""

from kfp import dsl

from components.catalog.component import catalog as catalog_step
from components.embed.component import embed
from components.evaluate.component import evaluate
from components.human_eval.component import human_eval
from components.index.component import index
from components.outcome.component import notify
from components.train.component import train
from components.transform.component import transform
from pipelines.after_gates import RUN, promote_if_passed
from pipelines.tasks import configure_tasks


@dsl.pipeline(
    name="visual-search",
    display_name="Visual search",
    description="Rebuilds the visual-similarity index from the catalog and promotes it only after "
    "offline metrics, human raters and the serving program itself have passed it.",
)
def visual_search(
    catalog: str,
    taxonomy: str,
    registry: str,
    votes: str = "",
    queries: str = "",
    channel: str = "demo",
    mode: str = "auto",
    incumbent: str = "live",
    raters: str = "none",
    catalog_max_reject_share: float = 0.02,
    catalog_max_removed_share: float = 0.3,
    catalog_max_drift: float = 0.3,
    catalog_max_changed_share: float = 0.2,
    catalog_ancestor_confidence: float = 0.8,
    transform_stored_size: int = 72,
    transform_unseen_fraction: float = 0.1,
    transform_min_class_images: int = 2,
    transform_max_reject_share: float = 0.02,
    transform_beam_options: str = "",
    train_depth: int = 18,
    train_width: int = 32,
    train_input_size: int = 64,
    train_embedding_dim: int = 128,
    train_epochs: int = 45,
    train_batch_size: int = 128,
    train_learning_rate: float = 0.1,
    train_warmup_epochs: float = 2.0,
    train_weight_decay: float = 5e-4,
    train_label_smoothing: float = 0.1,
    train_logit_scale: float = 12.0,
    train_workers: int = 2,
    train_backend: str = "local",
    train_backend_options: str = "",
    train_options: str = "",
    train_seed: int = 0,
    embed_batch_size: int = 64,
    embed_max_reject_share: float = 0.02,
    embed_beam_options: str = "",
    index_backend: str = "auto",
    index_recall_target: float = 0.98,
    index_tuning_seconds: float = 600.0,
    index_memory_limit_mb: int = 0,
    index_shard_items: int = 2_000_000,
    index_seed: int = 17,
    evaluate_min_leaf_hit_at_10: float = 0.0,
    evaluate_min_leaf_precision_at_10: float = 0.0,
    evaluate_min_product_recall_at_10: float = 0.0,
    evaluate_min_item_leaf_precision_at_10: float = 0.0,
    evaluate_min_index_recall_at_10: float = 0.98,
    evaluate_min_coverage: float = 0.95,
    evaluate_margin: float = 0.02,
    evaluate_min_overlap: float = 0.05,
    evaluate_max_near_duplicates: float = 0.2,
    evaluate_max_search_p95_ms: float = 0.0,
    evaluate_max_server_memory_mb: float = 8192.0,
    evaluate_seed: int = 0,
    human_eval_policy: str = "production",
    human_eval_tau: float = 0.8,
    human_eval_floor: float = 0.7,
    human_eval_after_failed_evaluation: str = "skip",
    human_eval_wait_minutes: float = 0.0,
    human_eval_seed: int = 20211,
    promote_reason: str = "pipeline run",
    notify_webhook_secret: str = "",
) -> None:
    """Rebuilds the index and promotes it through its gates.

    1. catalog checks tables and images and settles each item's label.
    2. transform writes training examples.
    3. train trains the encoder (or takes the live one over, in mode reuse).
    4. embed turns images into vectors, only where something changed.
    5. index builds the candidate bundle and publishes it.
    6. evaluate gives the offline verdict.
    7. human_eval gives the human verdict.
    8. gates says in one word what both gates came to: passed, refused or undecided.
    9. promote moves the channel, if both verdicts allow it; or refused, or undecided, says why not.
    10. notify tells of the outcome and the reasons, also when a step failed.

    Args:
        catalog: Catalog table (CSV, JSON lines or Parquet) with item_id and image.
        taxonomy: Taxonomy table: taxon_id,parent_id,name.
        registry: Registry: a folder, or gs://bucket/prefix.
        votes: Crowd votes: item_id,worker_id,taxon_id; empty for none.
        queries: Shopper photos: query_id,image,product_id,taxon_id; empty for none.
        channel: Channel to promote on: letters, digits, hyphens.
        mode: scratch trains anew, warm goes on from the live encoder, reuse keeps it, auto decides
            by what changed.
        incumbent: Version to compare with: live for what the channel points to, none for none.
        raters: Who judges: web, none, or simulated (for demos: they know the taxonomy).
        catalog_max_reject_share: Largest share of rows set aside before the run stops, 0 to 1.
        catalog_max_removed_share: Largest share of the live items that may be missing from the
            catalog before the run stops, 0 to 1; 1 for off.
        catalog_max_drift: Largest move of labels, image sizes or brightness since the live version
            before the run stops, 0 to 1; 1 for off.
        catalog_max_changed_share: Largest share of new and changed items for which mode auto keeps
            the live encoder, 0 to 1.
        catalog_ancestor_confidence: Smallest probability that a crowd label needs, above 0.5 to 1.
        transform_stored_size: Side of a stored training image, in pixels.
        transform_unseen_fraction: Share of products kept out of training, 0 to below 1.
        transform_min_class_images: Fewest training images of a class; a rarer leaf is trained as an
            ancestor.
        transform_max_reject_share: Largest share of images that cannot be decoded, 0 to 1.
        transform_beam_options: Options for Apache Beam's runner, separated by spaces.
        train_depth: Layers of the ResNet: 18, 34 or 50; 10 for trials.
        train_width: Channels of the first stage; each later stage doubles them.
        train_input_size: Side of the image that the encoder sees, in pixels.
        train_embedding_dim: Length of the embedding.
        train_epochs: Passes over the examples; 0 leaves the random initial weights.
        train_batch_size: Examples a step, over all workers together.
        train_learning_rate: Peak learning rate.
        train_warmup_epochs: Epochs of linear warm-up before the cosine decay.
        train_weight_decay: L2 penalty on the kernels.
        train_label_smoothing: Probability spread over all classes, 0 to below 1.
        train_logit_scale: Factor on cosines before the softmax.
        train_workers: Training processes.
        train_backend: Where they run: local (in the step), tfjob (Kubeflow's Training Operator) or
            vertex (a CustomJob).
        train_backend_options: What a remote backend needs, as JSON: staging, image and more, see
            docs/training.md.
        train_options: Further fields of the training's config, as JSON, such as {"margin": 0.1};
            lookalike parameters train lists them.
        train_seed: Seed of weights, order and augmentation.
        embed_batch_size: Images a call of the encoder.
        embed_max_reject_share: Largest share of images that cannot be embedded, 0 to 1.
        embed_beam_options: Options for Apache Beam's runner, separated by spaces.
        index_backend: auto searches exactly below 20,000 items and above tries what is fastest;
            or brute_force, ah (quantised scan), tree_ah (of the nearest partitions).
        index_recall_target: What recall@10 against exact search must reach with 95% confidence,
            0 to 1.
        index_tuning_seconds: No further index is built for comparison when it would end after so
            many seconds.
        index_memory_limit_mb: What the searcher may keep in memory, in MB; 0 for no limit.
        index_shard_items: A larger catalog is built in shards of at most so many items.
        index_seed: Seed of partitioning and tuning.
        evaluate_min_leaf_hit_at_10: Smallest share of photos with a right type in the first 10
            results, 0 to 1; 0 for off.
        evaluate_min_leaf_precision_at_10: Smallest mean share of right types in a photo's first 10
            results, 0 to 1; 0 for off.
        evaluate_min_product_recall_at_10: Smallest share of photos with the right product in the
            first 10 results, 0 to 1; 0 for off.
        evaluate_min_item_leaf_precision_at_10: Smallest mean share of right types in the first 10
            results with catalog images as queries, 0 to 1; 0 for off.
        evaluate_min_index_recall_at_10: Smallest recall@10 of the index against exact search.
        evaluate_min_coverage: Smallest share of the catalog's items that are indexed, 0 to 1.
        evaluate_margin: How much worse than the incumbent a figure may be, 0 to 1.
        evaluate_min_overlap: Smallest share of the incumbent's first 10 results that stay, where
            the encoder is another one, 0 to 1.
        evaluate_max_near_duplicates: Largest share of the first 10 results that show what a result
            above them shows, 0 to 1.
        evaluate_max_search_p95_ms: Largest 95th percentile of a search by photo, in milliseconds;
            0 for off.
        evaluate_max_server_memory_mb: Largest memory of the server, in MiB; 0 for off.
        evaluate_seed: Seed of samples and bootstrap.
        human_eval_policy: production, or demo: a few hundred photos, every result rated.
        human_eval_tau: Share of similar results that the candidate must exceed, 0 to 1.
        human_eval_floor: The same for every guarded department, 0 to 1.
        human_eval_after_failed_evaluation: skip spends no rater's time on a candidate that failed
            evaluate; ask judges it all the same.
        human_eval_wait_minutes: How long to wait for raters before the run ends undecided, in
            minutes; running again, or the release pipeline, goes on where the raters stand.
        human_eval_seed: Seed of the recorded order and of simulated raters.
        promote_reason: Why, for the channel's history.
        notify_webhook_secret: Secret Manager resource with the webhook's address,
            projects/P/secrets/S; empty for what the environment says.
    """
    told = notify(
        registry=registry,
        channel=channel,
        run=RUN,
        pipeline="visual-search",
        webhook_secret=notify_webhook_secret,
    )
    with dsl.ExitHandler(told, name="Catalog to promotion"):
        checked = catalog_step(
            catalog=catalog,
            taxonomy=taxonomy,
            votes=votes,
            queries=queries,
            registry=registry,
            channel=channel,
            mode=mode,
            incumbent=incumbent,
            max_reject_share=catalog_max_reject_share,
            max_removed_share=catalog_max_removed_share,
            max_drift=catalog_max_drift,
            max_changed_share=catalog_max_changed_share,
            ancestor_confidence=catalog_ancestor_confidence,
        )
        incumbent_version = checked.outputs["incumbent"]
        run_mode = checked.outputs["mode"]
        transformed = transform(
            checked=checked.outputs["checked"],
            mode=run_mode,
            registry=registry,
            stored_size=transform_stored_size,
            unseen_fraction=transform_unseen_fraction,
            min_class_images=transform_min_class_images,
            max_reject_share=transform_max_reject_share,
            beam_options=transform_beam_options,
        )
        trained = train(
            checked=checked.outputs["checked"],
            examples=transformed.outputs["examples"],
            transform_graph=transformed.outputs["transform_graph"],
            registry=registry,
            incumbent=incumbent_version,
            mode=run_mode,
            depth=train_depth,
            width=train_width,
            input_size=train_input_size,
            embedding_dim=train_embedding_dim,
            epochs=train_epochs,
            batch_size=train_batch_size,
            learning_rate=train_learning_rate,
            warmup_epochs=train_warmup_epochs,
            weight_decay=train_weight_decay,
            label_smoothing=train_label_smoothing,
            logit_scale=train_logit_scale,
            workers=train_workers,
            backend=train_backend,
            backend_options=train_backend_options,
            options=train_options,
            seed=train_seed,
        )
        embedded = embed(
            checked=checked.outputs["checked"],
            encoder=trained.outputs["encoder"],
            registry=registry,
            incumbent=incumbent_version,
            batch_size=embed_batch_size,
            max_reject_share=embed_max_reject_share,
            beam_options=embed_beam_options,
        )
        indexed = index(
            checked=checked.outputs["checked"],
            encoder=trained.outputs["encoder"],
            embeddings=embedded.outputs["embeddings"],
            registry=registry,
            incumbent=incumbent_version,
            mode=run_mode,
            backend=index_backend,
            recall_target=index_recall_target,
            tuning_seconds=index_tuning_seconds,
            memory_limit_mb=index_memory_limit_mb,
            shard_items=index_shard_items,
            seed=index_seed,
        )
        evaluated = evaluate(
            checked=checked.outputs["checked"],
            embeddings=embedded.outputs["embeddings"],
            bundle=indexed.outputs["bundle"],
            registry=registry,
            incumbent=incumbent_version,
            min_leaf_hit_at_10=evaluate_min_leaf_hit_at_10,
            min_leaf_precision_at_10=evaluate_min_leaf_precision_at_10,
            min_product_recall_at_10=evaluate_min_product_recall_at_10,
            min_item_leaf_precision_at_10=evaluate_min_item_leaf_precision_at_10,
            min_index_recall_at_10=evaluate_min_index_recall_at_10,
            min_coverage=evaluate_min_coverage,
            margin=evaluate_margin,
            min_overlap=evaluate_min_overlap,
            max_near_duplicates=evaluate_max_near_duplicates,
            max_search_p95_ms=evaluate_max_search_p95_ms,
            max_server_memory_mb=evaluate_max_server_memory_mb,
            seed=evaluate_seed,
        )
        judged = human_eval(
            checked=checked.outputs["checked"],
            evaluation=evaluated.outputs["evaluation"],
            registry=registry,
            channel=channel,
            version=indexed.outputs["version"],
            digest=indexed.outputs["digest"],
            incumbent=incumbent_version,
            offline=evaluated.outputs["Output"],
            raters=raters,
            policy=human_eval_policy,
            tau=human_eval_tau,
            floor=human_eval_floor,
            after_failed_evaluation=human_eval_after_failed_evaluation,
            wait_minutes=human_eval_wait_minutes,
            seed=human_eval_seed,
        )
        promote_if_passed(
            registry=registry,
            channel=channel,
            version=indexed.outputs["version"],
            incumbent=incumbent_version,
            offline=evaluated.outputs["Output"],
            human=judged.outputs["Output"],
            reason=promote_reason,
        )
    configure_tasks()
