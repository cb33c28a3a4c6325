"""What a run takes over from the run before, and what it says about it."""

import hashlib
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.contracts import embeddings as embedding_files
from components.contracts.catalog import Item, Query, write_items, write_queries
from components.contracts.files import read_json, write_json
from components.embed.config import EmbedConfig
from components.embed.embed import embed_catalog
from components.registry.local_store import LocalStore
from components.search import searcher as search
from components.search.searcher import ExactSearcher

CONFIG = EmbedConfig(batch_size=4, max_reject_share=0.5, rows_per_shard=6)


def save_encoder(directory, digest, order):
    class Encoder(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def encode(self, image_bytes):
            def colour(data):
                pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
                return tf.gather(tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[0, 1]), order)

            colours = tf.map_fn(colour, image_bytes, fn_output_signature=tf.float32)
            return tf.math.l2_normalize(tf.ensure_shape(colours, [None, 3]), axis=-1)

    module = Encoder()
    tf.saved_model.save(
        module, str(directory / "saved_model"), signatures={"image_bytes": module.encode}
    )
    write_json(directory / "encoder.json", {"digest": digest, "embedding_dim": 3})
    return directory


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {
        "one": save_encoder(root / "one", "one", [0, 1, 2]),
        "two": save_encoder(root / "two", "two", [2, 1, 0]),
    }


class Shop:
    """A catalog that changes from day to day, and the runs over it."""

    def __init__(self, folder, encoders):
        self.folder, self.encoders = folder, encoders
        self.store = LocalStore(folder / "registry")
        self.checked = folder / "checked"
        self.checked.mkdir()
        self.images = {f"i{n:02d}": (200 - 10 * n, 30 + 10 * n, 60) for n in range(17)}
        self.photos = {f"q{n}": (50 * n + 20, 90, 200) for n in range(3)}
        self.days = 0

    def picture(self, name, colour):
        buffer = io.BytesIO()
        Image.new("RGB", (12, 10), colour).save(buffer, "PNG")
        (self.checked / f"{name}.png").write_bytes(buffer.getvalue())
        return str(self.checked / f"{name}.png"), hashlib.sha256(buffer.getvalue()).hexdigest()

    def day(self, encoder="one", *, config=CONFIG, incumbent=None, report=None):
        write_items(
            self.checked / "items.jsonl",
            [Item(k, *self.picture(k, c), "root", k) for k, c in self.images.items()],
        )
        write_queries(
            self.checked / "queries.jsonl",
            [Query(k, *self.picture(k, c), "", "root") for k, c in self.photos.items()],
        )
        self.days += 1
        self.output = self.folder / f"day{self.days}"
        return embed_catalog(
            checked=self.checked,
            encoder=self.encoders[encoder],
            incumbent_bundle=incumbent,
            config=config,
            output=self.output,
            report=report,
            store=self.store,
        )

    def files(self, output=None):
        return {p.name: p.read_bytes() for p in ((output or self.output) / "items").iterdir()}

    def check(self):
        """Every item has the vector of its picture, and nothing else is there."""
        found = embedding_files.read(self.output / "items")
        assert sorted(found.ids) == sorted(self.images)
        for key, content_hash, vector in zip(found.ids, found.content_hashes, found.vectors):
            colour = np.array(self.images[key], np.float64)
            np.testing.assert_allclose(vector, colour / np.linalg.norm(colour), atol=1e-6)
            data = (self.checked / f"{key}.png").read_bytes()
            assert content_hash == hashlib.sha256(data).hexdigest()


@pytest.fixture
def shop(tmp_path, encoders):
    return Shop(tmp_path, encoders)


def test_a_day_without_changes_takes_every_shard_over_and_reads_no_image(shop, monkeypatch):
    first = shop.day()
    assert (first["shards"], first["reused_shards"], first["computed"]) == (4, 0, 20)
    before = shop.files()
    monkeypatch.setattr("components.contracts.image_reading.read_image", None)
    second = shop.day()
    assert (second["shards"], second["reused_shards"]) == (4, 4)
    assert (second["reused"], second["computed"]) == (20, 0)
    assert (second["photos"], second["reused_photos"]) == (3, 3)
    assert shop.files() == before
    shop.check()


def test_new_items_alone_are_computed_and_full_shards_stay(shop):
    shop.day()
    before = shop.files()
    shop.images |= {"a-new": (9, 8, 7), "z-new": (1, 2, 3)}
    figures = shop.day()
    assert (figures["computed"], figures["reused"]) == (2, 20)
    assert (figures["shards"], figures["reused_shards"]) == (5, 4)
    assert before.items() <= shop.files().items()
    shop.check()


def test_changed_and_lost_items_touch_their_shards_alone(shop):
    shop.day()
    shop.images["i01"] = (1, 99, 3)
    del shop.images["i02"]
    figures = shop.day()
    assert (figures["computed"], figures["reused"]) == (1, 18)
    assert (figures["shards"], figures["reused_shards"]) == (4, 3)
    shop.check()


def test_a_flipped_byte_is_noticed_and_computed_again(shop, capsys):
    shop.day()
    before = shop.files()
    listed = read_json(next(shop.store.root.glob("reuse/embeddings/*/list.json")))
    sha = next(f["sha256"] for f in listed["files"] if f["about"]["output"] == "items")
    path = next(shop.store.root.glob(f"reuse/embeddings/*/files/{sha}"))
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(bytes(data))
    figures = shop.day()
    rows = next(f["about"]["rows"] for f in listed["files"] if f["sha256"] == sha)
    assert (figures["computed"], figures["reused_shards"]) == (rows, 3)
    assert "another SHA-256" in capsys.readouterr().out
    assert sorted(shop.files().values()) == sorted(before.values())
    shop.check()
    assert shop.day()["computed"] == 0, "what was damaged is whole again"


def test_a_run_that_stopped_half_way_leaves_what_was_before(shop, monkeypatch):
    shop.day()
    shop.images["i20"] = (5, 6, 7)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("components.registry.kept.Kept.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.day()
    assert not (shop.output / "summary.json").exists()
    figures = shop.day()
    assert (figures["computed"], figures["reused"]) == (1, 20)
    shop.check()


def test_other_bounds_on_images_take_nothing_over(shop):
    shop.day()
    strict = EmbedConfig(batch_size=4, rows_per_shard=6, max_reject_share=0.5, min_image_side=9)
    figures = shop.day(config=strict)
    assert (figures["computed"], figures["reused"]) == (20, 0)
    assert shop.day(config=strict)["computed"] == 0
    assert read_json(shop.output / "summary.json")["image_limits"] == "20971520-50000000-9"


def test_a_new_encoder_computes_everything_and_says_so_first(shop, capsys, tmp_path):
    shop.day()
    live = tmp_path / "live"
    live.mkdir()
    (live / "encoder").symlink_to(shop.encoders["one"])
    write_items(live / "items.jsonl", [Item("i00", "", "x", "root", "i00")])
    vectors = np.array([[1, 0, 0]], np.float32)
    search.save(ExactSearcher(vectors), vectors, live)
    capsys.readouterr()
    (shop.checked / "taxonomy.csv").write_text("taxon_id,parent_id,name\nroot,,All\nleaf,root,L\n")
    page = tmp_path / "report.html"
    figures = shop.day("two", incumbent=live, report=page)
    said = capsys.readouterr().out
    assert "the encoder is new, so that no vector can be taken over: 20 of 23 images" in said
    # The photos through the incumbent's encoder were computed when it was new.
    assert (figures["photos"], figures["reused_photos"]) == (6, 3)
    assert (figures["computed"], figures["reused"]) == (20, 3)
    assert len(embedding_files.read(shop.output / "queries_incumbent")) == 3
    assert "0 of 4" not in page.read_text()
    assert "1 of 5" in page.read_text()
    assert "the encoder is new" in page.read_text()
    # Going back to the first encoder costs nothing: its items were not thrown away meanwhile.
    assert shop.day("one")["computed"] == 0


def test_bounds_that_the_live_index_was_not_made_with(shop, tmp_path):
    live = tmp_path / "live"
    live.mkdir()
    (live / "encoder").symlink_to(shop.encoders["one"])
    _, content_hash = shop.picture("i00", shop.images["i00"])
    write_items(live / "items.jsonl", [Item("old", "", content_hash, "root", "p")])
    colour = np.array([shop.images["i00"]], np.float32)
    vectors = colour / np.linalg.norm(colour)
    search.save(ExactSearcher(vectors), vectors, live)
    write_json(live / "manifest.json", {"lineage": {"image_limits": "1-2-3"}})
    shop.store = None
    assert shop.day(incumbent=live)["reused"] == 0
    write_json(live / "manifest.json", {"lineage": {}})
    assert shop.day(incumbent=live)["reused"] == 1
    shop.check()


def test_vectors_of_one_image_agree_in_every_batch():
    """What "the same vector" means when some are taken over: up to the last bits of float32."""
    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.normal(size=(3, 3, 3, 16)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 24, 24, 3], tf.float32)])
    def encode(images):
        features = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME"))
        return tf.math.l2_normalize(tf.reduce_mean(features, axis=[1, 2]), axis=-1)

    images = tf.constant(rng.random((64, 24, 24, 3)), tf.float32)
    whole = encode(images).numpy()
    for size in (1, 7):
        parts = [encode(images[at : at + size]).numpy() for at in range(0, 64, size)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=1e-6)
