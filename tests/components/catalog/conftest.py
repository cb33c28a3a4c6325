"""A small catalog on disk that tests may spoil in one place each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from components.catalog.check import check_catalog
from components.catalog.config import CatalogConfig

TAXONOMY = [
    ("root", "", "All"),
    ("seating", "root", "Seating"),
    ("lamps", "root", "Lamps"),
    ("chair", "seating", "Chairs"),
    ("sofa", "seating", "Sofas"),
    ("stool", "seating", "Stools"),
    ("table-lamp", "lamps", "Table lamps"),
    ("floor-lamp", "lamps", "Floor lamps"),
]


def write_csv(path: Path, header, rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@dataclass
class Shop:
    """The tables of a catalog of `len(items)` products, before they are written."""

    folder: Path
    items: list[list[str]]
    queries: list[list[str]]
    votes: list[list[str]]
    taxonomy: list[tuple[str, str, str]]

    def write(self) -> None:
        write_csv(
            self.folder / "catalog.csv",
            ("item_id", "image", "taxon_id", "product_id", "title", "traffic", "colour"),
            self.items,
        )
        write_csv(
            self.folder / "queries.csv",
            ("query_id", "image", "product_id", "taxon_id"),
            self.queries,
        )
        write_csv(self.folder / "votes.csv", ("image_id", "worker_id", "taxon_id"), self.votes)
        write_csv(self.folder / "taxonomy.csv", ("taxon_id", "parent_id", "name"), self.taxonomy)

    def check(self, *, catalog="catalog.csv", previous=None, live=None, write=True, **settings):
        if write:
            self.write()
        return check_catalog(
            catalog=str(self.folder / catalog),
            taxonomy=str(self.folder / "taxonomy.csv"),
            votes=str(self.folder / "votes.csv") if self.votes else "",
            queries=str(self.folder / "queries.csv") if self.queries else "",
            previous_taxonomy=previous,
            config=CatalogConfig(**settings),
            output=self.output,
            report=self.report,
            live=live,
        )

    @property
    def output(self) -> Path:
        return self.folder.parent / "checked"

    @property
    def report(self) -> Path:
        return self.folder.parent / "report.html"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    folder = tmp_path / "shop"
    (folder / "images").mkdir(parents=True)
    leaves = ["chair", "sofa", "stool", "table-lamp", "floor-lamp"]
    items, queries = [], []
    for number in range(10):
        Image.new("RGB", (16, 16), (number, 2, 3)).save(folder / f"images/i{number}.png")
        Image.new("RGB", (16, 16), (number, 2, 9)).save(folder / f"images/q{number}.png")
        leaf = leaves[number % 5]
        items.append([f"i{number}", f"images/i{number}.png", leaf, f"p{number}", "Ä", "", "red"])
        queries.append([f"q{number}", f"images/q{number}.png", f"p{number}", leaf])
    return Shop(folder, items, queries, [], list(TAXONOMY))
