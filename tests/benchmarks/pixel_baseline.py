"""What pixel matching reaches: the lower end between which the demo's threshold lies.

Small colour pictures compared by cosine, no learning at all. Prints the mean score of the shopper
photos, a query's score being the mean over its 5 results (one image a product) of "same leaf or
same product", overall and for each department with at least 20 products.

    python tests/benchmarks/pixel_baseline.py --data tests/data/dev-mini [--output EVALUATION]
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from components.contracts.catalog import Item, Query, write_items, write_queries
from components.contracts.files import sha256_file, write_json_lines
from components.contracts.taxonomy import Taxonomy

RESULTS = 5


def read_table(data: Path) -> tuple[list[Item], list[Query], Taxonomy]:
    """Reads the shipped catalog as it stands, without the catalog step."""
    taxonomy = Taxonomy.read(data / "taxonomy.csv")

    def rows(name: str) -> list[dict[str, str]]:
        with (data / name).open(newline="") as file:
            return list(csv.DictReader(file))

    items = [
        Item(r["item_id"], str((data / r["image"]).resolve()), sha256_file(data / r["image"]),
             r["taxon_id"], r["product_id"], r["title"])
        for r in rows("catalog.csv")
    ]  # fmt: skip
    queries = [
        Query(r["query_id"], str((data / r["image"]).resolve()), sha256_file(data / r["image"]),
              r["product_id"], r["taxon_id"])
        for r in rows("queries.csv")
    ]  # fmt: skip
    return items, queries, taxonomy


def vectors(paths: list[str], side: int) -> np.ndarray:
    """Returns unit vectors of small colour pictures, float32 [images, side * side * 3]."""
    found = []
    for path in paths:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.BOX)
        pixels = np.asarray(small, dtype=np.float32).reshape(-1)
        pixels = pixels - pixels.mean()
        found.append(pixels / max(float(np.linalg.norm(pixels)), 1e-6))
    return np.stack(found)


def rank(
    items: list[Item], queries: list[Query], *, side: int = 16
) -> list[list[tuple[Item, float]]]:
    """Returns the best image of each of the best products, for each query."""
    scores = vectors([q.image for q in queries], side) @ vectors([i.image for i in items], side).T
    answers = []
    for row in scores:
        best: dict[str, tuple[Item, float]] = {}
        for index in np.argsort(-row, kind="stable"):
            item = items[int(index)]
            best.setdefault(item.product_id, (item, float(row[index])))
            if len(best) == RESULTS:
                break
        answers.append(list(best.values()))
    return answers


def answer_record(query: Query, results: list[tuple[Item, float]]) -> dict[str, object]:
    """Returns one line of `results/candidate.jsonl`."""
    return {
        "query_id": query.query_id, "kind": "shopper", "image": query.image,
        "content_hash": query.content_hash, "taxon_id": query.taxon_id,
        "product_id": query.product_id,
        "results": [
            {"item_id": item.item_id, "product_id": item.product_id, "taxon_id": item.taxon_id,
             "image": item.image, "content_hash": item.content_hash, "score": score}
            for item, score in results
        ],
    }  # fmt: skip


def write_evaluation(
    output: Path,
    items: list[Item],
    queries: list[Query],
    taxonomy: Taxonomy,
    answers: list[list[tuple[Item, float]]],
) -> None:
    """Writes what evaluate and catalog would have written, to feed the gate."""
    write_items(output / "checked" / "items.jsonl", items)
    write_queries(output / "checked" / "queries.jsonl", queries)
    taxonomy.write(output / "checked" / "taxonomy.csv")
    write_json_lines(
        output / "results" / "candidate.jsonl",
        (answer_record(query, results) for query, results in zip(queries, answers, strict=True)),
    )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", type=int, default=16, help="pixels a side of the small pictures")
    parser.add_argument("--output", type=Path, help="also write the answers as an evaluation")
    options = parser.parse_args()
    items, queries, taxonomy = read_table(options.data)
    answers = rank(items, queries, side=options.side)
    score = np.array([
        np.mean([item.taxon_id == q.taxon_id or item.product_id == q.product_id
                 for item, _ in results])
        for q, results in zip(queries, answers, strict=True)
    ])  # fmt: skip
    products = Counter(
        taxonomy.department(t) for _, t in {(i.product_id, i.taxon_id) for i in items}
    )
    department = np.array([taxonomy.department(q.taxon_id) for q in queries])
    print(f"{'department':<16}{'queries':>8}{'score@5':>9}")
    print(f"{'all':<16}{len(score):>8}{score.mean():>9.3f}")
    guarded = [d for d in taxonomy.departments if products[d] >= 20]
    for name in guarded:
        print(f"{name:<16}{(department == name).sum():>8}{score[department == name].mean():>9.3f}")
    rest = ~np.isin(department, guarded)
    if rest.any():
        print(f"{'the others':<16}{rest.sum():>8}{score[rest].mean():>9.3f}")
    if options.output:
        write_evaluation(options.output, items, queries, taxonomy, answers)


if __name__ == "__main__":
    main()
