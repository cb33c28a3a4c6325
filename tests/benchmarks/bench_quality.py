"""Compare training losses, and what needs no training, on the shopper photos of a catalog.

Every recipe is trained on the catalog's views alone, for the same number of epochs, with several
seeds, each in a process of its own on one core. Every result is a file in the work directory, so a
run that was stopped goes on; the table is made of what is there:

    python tests/benchmarks/bench_quality.py --data DIRECTORY --work DIRECTORY

Photos and catalog images are compared exactly, one image a product. `leaf P@10` is the share of the
first 10 products that are of the photo's leaf; `product R@k` whether its product is in the first k.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from components.contracts.catalog import (
    ITEMS_FILE,
    QUERIES_FILE,
    TAXONOMY_FILE,
    Item,
    Query,
    read_items,
    read_queries,
)
from components.contracts.files import read_json, write_json
from components.contracts.taxonomy import Taxonomy
from components.evaluate.metrics import hit_at, precision_at
from components.train.config import TrainConfig

Vectors = npt.NDArray[np.float32]

# What differs from the defaults of components.train.config. In all recipes the one worker takes 64
# examples a step, as each of the two does by default.
BATCH_SIZE = 64
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "default, no catalog views": {"catalog_weight": 0.0},
    "default, no foreground": {"foreground_weight": 0.0},
    "default, neither": {"catalog_weight": 0.0, "foreground_weight": 0.0},
    "default, margin 0.1": {"margin": 0.1},
    "default, tree smoothing": {"tree_smoothing": True},
    "default and contrastive": {"contrastive_weight": 0.5, "views_per_product": 4},
    "levels and contrastive": {
        "product_weight": 0.0,
        "contrastive_weight": 1.0,
        "views_per_product": 4,
    },
    "levels only": {"product_weight": 0.0},
}
PLAIN = "plain softmax over leaves"
PLAIN_CONFIG = {
    "product_weight": 0.0,
    "leaf_weight": 1.0,
    "ancestor_weight": 0.0,
    "label_smoothing": 0.0,
    "logit_scale": 1.0,
    "catalog_weight": 0.0,
    "foreground_weight": 0.0,
}
RANDOM = "random weights"
HISTOGRAM = "colour histogram and HOG"
FIGURES = ("leaf P@10", "product R@1", "product R@10")
_K = 10


def prepare(data: Path, work: Path) -> None:
    """Checks the catalog and makes its examples, once."""
    from components.catalog.check import check_catalog
    from components.catalog.config import CatalogConfig
    from components.transform.config import TransformConfig
    from components.transform.transform import transform_examples

    if not (work / "checked" / "summary.json").is_file():
        check_catalog(
            catalog=str(data / "catalog.csv"),
            taxonomy=str(data / "taxonomy.csv"),
            votes="",
            queries=str(data / "queries.csv"),
            previous_taxonomy=None,
            config=CatalogConfig(),
            output=work / "checked",
            report=work / "catalog.html",
        )
    if not (work / "examples" / "statistics.json").is_file():
        transform_examples(
            checked=work / "checked",
            mode="scratch",
            config=TransformConfig(workers=1),
            examples=work / "examples",
            transform_graph=work / "graph",
            report=work / "transform.html",
        )


def config_of(recipe: str, seed: int, epochs: int) -> TrainConfig:
    """Returns a recipe's whole config."""
    changes = PLAIN_CONFIG if recipe == PLAIN else RECIPES.get(recipe, {})
    return TrainConfig.from_mapping(
        {
            "workers": 1,
            "threads": 1,
            "epochs": 0 if recipe == RANDOM else epochs,
            "seed": seed,
            "evaluate_every": 1000,
            "batch_size": BATCH_SIZE,
            **changes,
        }
    )


def result_file(work: Path, recipe: str, seed: int, epochs: int) -> Path:
    """Returns where one run's figures are.

    What a recipe's name stands for changes with the defaults, so that its config is in the name.
    """
    values = {**config_of(recipe, 0, epochs).to_mapping(), "seed": None}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    name = "-".join(recipe.replace(",", "").split())
    return work / "results" / f"{name}-{digest}-{epochs}-{seed}.json"


def measure(work: Path, recipe: str, seed: int, epochs: int) -> None:
    """Trains one recipe with one seed, or computes a baseline, and writes its figures."""
    started = time.monotonic()
    items = read_items(work / "checked" / ITEMS_FILE)
    queries = read_queries(work / "checked" / QUERIES_FILE)
    if recipe == HISTOGRAM:
        embed: Callable[[list[str]], Vectors] = histograms
        trained = None
    else:
        embed, trained = train(work, recipe, seed, epochs)
    minutes = (time.monotonic() - started) / 60
    figures = score(
        items,
        queries,
        embed([item.image for item in items]),
        embed([query.image for query in queries]),
        trained,
    )
    path = result_file(work, recipe, seed, epochs)
    write_json(path, {"recipe": recipe, "seed": seed, "minutes": minutes, **figures})


def train(
    work: Path, recipe: str, seed: int, epochs: int
) -> tuple[Callable[[list[str]], Vectors], set[str]]:
    """Trains in this process, on one core.

    Returns:
        What turns image files into vectors, and the products that were trained on.
    """
    import tensorflow as tf

    from components.train.encoder import encode
    from components.train.loop import Trainer
    from components.train.train import read_labels
    from components.transform.graph import decode

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    config = config_of(recipe, seed, epochs)
    if recipe == PLAIN:
        use_plain_softmax()
    labels = read_labels(work / "examples", Taxonomy.read(work / "checked" / TAXONOMY_FILE))
    trainer = Trainer(
        examples=work / "examples",
        checkpoints=result_file(work, recipe, seed, epochs).with_suffix(".checkpoints"),
        config=config,
        labels=labels,
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        initial_weights=None,
    )
    trainer.run()
    size = trainer.statistics.stored_size

    def embed(images: list[str]) -> Vectors:
        def stored(path: tf.Tensor) -> tf.Tensor:
            return decode(tf.io.read_file(path), size=size)

        batches = tf.data.Dataset.from_tensor_slices(images).map(stored).batch(256)
        found = [
            encode(
                trainer.network,
                batch,
                input_size=config.input_size,
                flip_average=config.flip_average,
            ).numpy()
            for batch in batches
        ]
        vectors: Vectors = np.concatenate(found)
        return vectors

    return embed, set(labels.products)


def use_plain_softmax() -> None:
    """Makes the trainer build the textbook's classifier: a linear layer over free vectors.

    Our network ends in unit vectors and our heads in cosines; both are part of the recipe that is
    compared, so the baseline does without.
    """
    import keras
    import tensorflow as tf

    from components.train import loop
    from components.train.heads import CosineHead

    class LinearHead(CosineHead):
        """Logits instead of cosines."""

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            """Returns logits, float32 `[batch, classes]`."""
            return tf.matmul(inputs, self.prototypes, transpose_b=True)

    build_network, build_heads = loop.build_resnet, loop.build_heads

    def free_network(**options: Any) -> keras.Model:
        network = build_network(**options)
        return keras.Model(
            network.inputs, network.get_layer("embedding_bn").output, name=network.name
        )

    def linear_heads(*arguments: Any, **options: Any) -> list[CosineHead]:
        heads = build_heads(*arguments, **options)
        for head in heads:
            head.__class__ = LinearHead
        return heads

    loop.build_resnet, loop.build_heads = free_network, linear_heads


def histograms(images: list[str]) -> Vectors:
    """Returns colour and shape without any learning.

    Half of each vector is an HSV histogram of 8 x 4 x 4 cells, the other half a histogram of
    oriented gradients (Dalal and Triggs, 2005), each of unit norm; square roots are taken first,
    so that the cosine is Hellinger's affinity (Arandjelovic and Zisserman, 2012).

    Returns:
        float32 `[images, features]`, unit norm.
    """
    from skimage.feature import hog

    found = []
    for path in images:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((64, 64), Image.Resampling.BOX)
        hsv = np.asarray(small.convert("HSV"), np.float64).reshape(-1, 3)
        colour, _ = np.histogramdd(hsv, bins=(8, 4, 4), range=[(0, 256)] * 3)
        shape = hog(
            np.asarray(small),
            orientations=9,
            pixels_per_cell=(8, 8),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
            channel_axis=-1,
        )
        halves = [np.sqrt(half.ravel() / max(half.sum(), 1e-9)) for half in (colour, shape)]
        found.append(np.concatenate(halves) / np.sqrt(2.0))
    return np.stack(found).astype(np.float32)


def score(
    items: list[Item],
    queries: list[Query],
    item_vectors: Vectors,
    query_vectors: Vectors,
    trained: set[str] | None,
) -> dict[str, float]:
    """Returns the figures over all photos, and apart over products that no view was trained of."""
    products = sorted({item.product_id for item in items})
    row = {product: number for number, product in enumerate(products)}
    product = np.array([row[item.product_id] for item in items])
    order = np.argsort(product, kind="stable")
    starts = np.searchsorted(product[order], np.arange(len(products)))
    # Views of one product have one leaf in the shipped catalogs; the best view's would do as well.
    leaf = np.array([items[order[start]].taxon_id for start in starts])
    scores = np.maximum.reduceat((query_vectors @ item_vectors.T)[:, order], starts, axis=1)
    first = np.argsort(-scores, axis=1, kind="stable")[:, :_K]
    same_leaf = leaf[first] == np.array([query.taxon_id for query in queries])[:, None]
    same_product = first == np.array([row[query.product_id] for query in queries])[:, None]
    values = dict(
        zip(
            FIGURES,
            (precision_at(same_leaf, _K), hit_at(same_product, 1), hit_at(same_product, _K)),
            strict=True,
        )
    )
    figures = {name: float(column.mean()) for name, column in values.items()}
    if trained is not None:
        unseen = np.array([query.product_id not in trained for query in queries])
        if unseen.any():
            figures |= {
                f"{name}, untrained products": float(column[unseen].mean())
                for name, column in values.items()
            }
    return figures


def table(work: Path, epochs: int) -> str:
    """Returns a Markdown table of all results that are there."""
    shown = [*FIGURES, f"{FIGURES[-1]}, untrained products"]
    lines = [
        "| recipe | seeds | " + " | ".join(shown) + " | minutes |",
        "|---|---|" + "---|" * (len(shown) + 1),
    ]
    for recipe in (*RECIPES, PLAIN, HISTOGRAM, RANDOM):
        folder = result_file(work, recipe, 0, epochs).parent
        stem = result_file(work, recipe, 0, epochs).stem[:-1]
        found = [read_json(path) for path in sorted(folder.glob(f"{stem}*.json"))]
        if not found:
            continue
        cells = [_cell([100 * run[name] for run in found if name in run]) for name in shown]
        minutes = max(run["minutes"] for run in found)
        lines.append(f"| {recipe} | {len(found)} | " + " | ".join(cells) + f" | {minutes:.0f} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    mean = f"{np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Runs what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="the catalog's directory; first run only")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--recipes", nargs="*", help="some of them; all when left out")
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.work, options.one[0], int(options.one[1]), options.epochs)
        return
    if options.data:
        prepare(options.data, options.work)
    runs = [
        (recipe, seed)
        for seed in range(options.seeds)
        for recipe in options.recipes or (*RECIPES, PLAIN, RANDOM, HISTOGRAM)
        # Nothing in it is drawn.
        if recipe != HISTOGRAM or seed == 0
    ]

    def one(run: tuple[str, int]) -> None:
        recipe, seed = run
        if result_file(options.work, recipe, seed, options.epochs).is_file():
            return
        command = [sys.executable, __file__, "--work", str(options.work)]
        command += ["--epochs", str(options.epochs), "--one", recipe, str(seed)]
        log = result_file(options.work, recipe, seed, options.epochs).with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            code = subprocess.run(command, stdout=output, stderr=output, check=False).returncode
        print(f"{recipe}, seed {seed}: {'ok' if code == 0 else f'ended with {code}, see {log}'}")

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, runs))
    print(table(options.work, options.epochs))


if __name__ == "__main__":
    main()
