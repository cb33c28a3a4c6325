"""Tiny bundles: a dozen items of plain colours and an encoder that sees the mean colour."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.contracts.bundle import Manifest, list_files, write_manifest
from components.contracts.catalog import Item, write_items
from components.contracts.files import sha256_bytes, sha256_file, write_json
from components.contracts.taxonomy import Taxonomy
from components.search import neighbours
from components.search import searcher as search
from components.search.query import Wanted
from components.search.retrieval import BundleIndex
from components.search.searcher import ExactSearcher, save
from serving.engine import LoadedBundle
from serving.item_table import ItemTable

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
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Maker:
    """Makes pictures, vectors and bundles below a folder.

    Attributes:
        root: The folder.
        saved_model: Returns a SavedModel that computes what `unit` does; imports TensorFlow.
    """

    root: Path
    saved_model: Callable[[], Path]

    @staticmethod
    def png(colour: Colour, size: tuple[int, int] = (32, 32)) -> bytes:
        """Returns a plain picture."""
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, format="PNG")
        return buffer.getvalue()

    @staticmethod
    def jpeg(colour: Colour, size: tuple[int, int] = (32, 32)) -> bytes:
        """Returns a plain picture as a plain JPEG."""
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, format="JPEG", quality=95)
        return buffer.getvalue()

    @staticmethod
    def unit(colour: Sequence[float]) -> np.ndarray:
        """Returns the vector of a plain picture: its colour and a constant, normalised."""
        vector = np.asarray([*colour, 64], np.float32) / 255
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    @classmethod
    def encode(cls, images: Sequence[bytes]) -> np.ndarray:
        """Does what the SavedModel does, without TensorFlow."""
        means = [
            np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.float32).mean((0, 1))
            for image in images
        ]
        return np.stack([cls.unit(mean) for mean in means])

    def items(self, prefix: str) -> list[Item]:
        """Returns two items of each colour, with their pictures on disk."""
        items = []
        for name, colour in COLOURS.items():
            for view, factor in (("1", 1.0), ("2", 0.92)):
                red, green, blue = (int(value * factor) for value in colour)
                path = self.root / "catalog" / f"{name}{view}.png"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(self.png((red, green, blue)))
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

    def bundle(self, version: str = "v1", *, prefix: str = "", encoder: bool = True) -> Path:
        """Makes a whole bundle directory; item ids begin with `prefix`."""
        directory = self.root / "bundles" / version
        items = self.items(prefix)
        vectors = self.encode([Path(item.image).read_bytes() for item in items])
        if encoder:
            shutil.copytree(self.saved_model(), directory / "encoder" / "saved_model")
        write_json(directory / "encoder" / "encoder.json", {"digest": "tiny", "embedding_dim": 4})
        (directory / "taxonomy.csv").write_text(TAXONOMY)
        write_items(directory / "items.jsonl", items)
        save(ExactSearcher(vectors), vectors, directory)
        np.save(directory / "index/item_ids.npy", np.asarray([item.item_id for item in items]))
        self._golden(directory)
        self.seal(directory, version)
        return directory

    def _golden(self, directory: Path) -> None:
        queries = np.stack([self.unit((200, 60, 60)), self.unit((30, 30, 200))])
        (directory / "golden" / "images").mkdir(parents=True)
        (directory / "golden" / "images" / "000.png").write_bytes(self.png((200, 60, 60)))
        np.save(directory / "golden" / "queries.npy", queries)
        hits = BundleIndex.load(directory).answer(queries, 3)
        records = [
            {
                "query_id": f"q{number}",
                "kind": "shopper",
                "image": "golden/images/000.png" if number == 0 else "",
                "item_ids": hit.item_ids,
                "product_ids": hit.product_ids,
                "scores": hit.scores,
            }
            for number, hit in enumerate(hits)
        ]
        content = {"k": 3, "one_per_product": True, "queries": records}
        write_json(directory / "golden" / "answers.json", content)

    @staticmethod
    def seal(directory: Path, version: str, **changes: Any) -> Manifest:
        """Writes the manifest over whatever the directory holds now, with some fields changed."""
        vectors = np.load(directory / "index/vectors.npy")
        manifest = Manifest(
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
        )
        manifest = replace(manifest, **changes)
        write_manifest(directory, manifest)
        return manifest

    def loaded(self, version: str = "v1", *, prefix: str = "") -> LoadedBundle:
        """Returns a bundle as the loader would, with the encoder that needs no TensorFlow."""
        directory = self.bundle(version, prefix=prefix, encoder=False)
        return LoadedBundle(
            manifest=self.seal(directory, version),
            digest=sha256_file(directory / "manifest.json"),
            taxonomy=Taxonomy.read(directory / "taxonomy.csv"),
            items=ItemTable(directory / "items.jsonl"),
            vectors=search.load_vectors(directory),
            searcher=search.load(directory),
            encode=self.encode,
            timings={},
        )


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., LoadedBundle]:
    """Gives a bundle a table of neighbours of three: it has six products, and not eleven."""
    monkeypatch.setattr(neighbours, "PLAIN", Wanted(3))

    def make(bundle: LoadedBundle) -> LoadedBundle:
        (tmp_path / "index").mkdir(exist_ok=True)
        products = bundle.items.products
        neighbours.write(bundle.searcher, bundle.vectors, products, tmp_path, most_items=12)
        bundle.neighbours = neighbours.NeighbourTable.load(tmp_path, 12)
        return bundle

    return make


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes the tiny encoder the first time it is asked for."""
    made: list[Path] = []

    def make() -> Path:
        if not made:
            made.append(_save_model(tmp_path_factory.mktemp("encoder") / "saved_model"))
        return made[0]

    return make


def _save_model(path: Path) -> Path:
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
    tf.saved_model.save(model, str(path), signatures={"image_bytes": model.image_bytes})
    return path


@pytest.fixture
def maker(tmp_path: Path, saved_model: Callable[[], Path]) -> Maker:
    return Maker(tmp_path, saved_model)


@pytest.fixture(scope="module")
def module_maker(
    tmp_path_factory: pytest.TempPathFactory, saved_model: Callable[[], Path]
) -> Maker:
    return Maker(tmp_path_factory.mktemp("serving"), saved_model)
