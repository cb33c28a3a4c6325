"""Tiny bundles: a dozen items of plain colours and an encoder that looks at the mean colour."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.contracts.bundle import Manifest, list_files, write_manifest
from components.contracts.catalog import Item, write_items
from components.contracts.files import sha256_bytes, sha256_file, write_json
from components.contracts.retrieval import BundleIndex
from components.contracts.searcher import ExactSearcher, save

TAXONOMY = (
    "taxon_id,parent_id,name,class_id,status,redirect\n"
    "root,,Home goods,0,active,\n"
    "seating,root,Seating,1,active,\n"
    "sofa,seating,Sofas <b>,2,active,\n"
    "lamp,root,Lamps,3,active,\n"
)
# Two images a product: the second is a shade darker.
COLOURS = {
    "red": (220, 30, 30),
    "orange": (230, 130, 30),
    "yellow": (225, 215, 40),
    "green": (40, 190, 60),
    "blue": (40, 60, 210),
    "grey": (128, 128, 128),
}


def png(colour: tuple[int, int, int], size: tuple[int, int] = (32, 32)) -> bytes:
    """Returns a plain picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


def unit(colour: tuple[int, int, int]) -> np.ndarray:
    """Returns what the tiny encoder makes of a plain picture, computed without TensorFlow."""
    vector = np.asarray([*colour, 64], np.float32) / 255
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder: mean colour and a constant, normalised; 4 dimensions."""
    import tensorflow as tf

    def one(data: Any) -> Any:
        pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
        return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=(0, 1))

    class Mean(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
        def image_bytes(self, images: Any) -> Any:
            colours = tf.map_fn(one, images, fn_output_signature=tf.TensorSpec([3], tf.float32))
            constant = tf.fill([tf.shape(images)[0], 1], 64.0)
            return tf.math.l2_normalize(tf.concat([colours, constant], 1) / 255.0, axis=1)

    model = Mean()
    path = tmp_path_factory.mktemp("encoder") / "saved_model"
    tf.saved_model.save(model, str(path), signatures={"image_bytes": model.image_bytes})
    return path


@dataclass(frozen=True)
class Catalog:
    """Where the pictures of the tiny bundles lie."""

    folder: Path

    def items(self, prefix: str) -> list[Item]:
        items = []
        for name, (red, green, blue) in COLOURS.items():
            for view, factor in (("1", 1.0), ("2", 0.92)):
                colour = (int(red * factor), int(green * factor), int(blue * factor))
                path = self.folder / f"{name}{view}.png"
                if not path.exists():
                    path.write_bytes(png(colour))
                items.append(
                    Item(
                        item_id=f"{prefix}{name}{view}",
                        image=str(path),
                        content_hash=sha256_bytes(path.read_bytes()),
                        taxon_id="sofa" if name in ("red", "orange", "yellow") else "lamp",
                        product_id=name,
                        title=f"<i>{name}</i> & co",
                    )
                )
        return items


BundleMaker = Callable[..., Path]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    folder = tmp_path / "catalog"
    folder.mkdir()
    return Catalog(folder)


@pytest.fixture
def make_bundle(tmp_path: Path, saved_model: Path, catalog: Catalog) -> BundleMaker:
    """Makes a whole bundle directory; item ids begin with `prefix`."""

    def make(version: str = "v1", *, prefix: str = "", extra: Callable[[Path], None] | None = None):
        directory = tmp_path / "bundles" / version
        items = catalog.items(prefix)
        vectors = np.stack([vector_of(item) for item in items])
        shutil.copytree(saved_model, directory / "encoder" / "saved_model")
        write_json(directory / "encoder" / "encoder.json", {"digest": "tiny", "embedding_dim": 4})
        (directory / "taxonomy.csv").write_text(TAXONOMY)
        write_items(directory / "items.jsonl", items)
        searcher = ExactSearcher(vectors)
        save(searcher, vectors, directory)
        np.save(directory / "index/item_ids.npy", np.asarray([item.item_id for item in items]))
        queries = np.stack([unit((200, 60, 60)), unit((30, 30, 200))])
        hits = BundleIndex(items, vectors, searcher).answer(queries, 3)
        (directory / "golden" / "images").mkdir(parents=True)
        (directory / "golden" / "images" / "q1.png").write_bytes(png((200, 60, 60)))
        np.save(directory / "golden" / "queries.npy", queries)
        golden = [
            {
                "query_id": f"q{number}",
                "kind": "shopper",
                "image": image,
                "item_ids": hit.item_ids,
                "product_ids": hit.product_ids,
                "scores": hit.scores,
            }
            for number, (image, hit) in enumerate(zip(["golden/images/q1.png", ""], hits))
        ]
        content = {"k": 3, "one_per_product": True, "queries": golden}
        write_json(directory / "golden" / "answers.json", content)
        if extra is not None:
            extra(directory)
        seal(directory, version)
        return directory

    return make


def vector_of(item: Item) -> np.ndarray:
    with Image.open(item.image) as image:
        red, green, blue = image.convert("RGB").getpixel((0, 0))
    return unit((red, green, blue))


def seal(directory: Path, version: str) -> None:
    """Writes the manifest over whatever the directory holds."""
    vectors = np.load(directory / "index/vectors.npy")
    write_manifest(
        directory,
        Manifest(
            version=version,
            created="2026-11-22T12:00:00+00:00",
            mode="scratch",
            items=len(vectors),
            embedding_dim=vectors.shape[1],
            encoder_digest="tiny",
            taxonomy_digest=sha256_file(directory / "taxonomy.csv"),
            index={},
            lineage={},
            parameters={},
            metrics={},
            files=list_files(directory),
        ),
    )
