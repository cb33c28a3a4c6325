import hashlib
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from components.contracts import embeddings as embedding_files
from components.contracts.catalog import Item, Query, read_rejects, write_items, write_queries
from components.contracts.errors import InputError, LookalikeError
from components.contracts.files import read_json, write_json
from components.embed.config import EmbedConfig
from components.embed.embed import embed_catalog
from components.embed.model import NO_VECTOR, EncoderHandler
from components.search import searcher as search
from components.search.searcher import ExactSearcher

CONFIG = EmbedConfig(batch_size=4, max_reject_share=0.5)


def save_encoder(directory, *, order, digest):
    """An encoder that returns the mean colour of the picture as a unit vector."""

    def mean_colour(data):
        pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
        return tf.gather(tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[0, 1]), order)

    class Encoder(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def encode(self, image_bytes):
            colours = tf.map_fn(mean_colour, image_bytes, fn_output_signature=tf.float32)
            return tf.math.l2_normalize(tf.ensure_shape(colours, [None, len(order)]), axis=-1)

    module = Encoder()
    tf.saved_model.save(
        module, str(directory / "saved_model"), signatures={"image_bytes": module.encode}
    )
    write_json(directory / "encoder.json", {"digest": digest, "embedding_dim": len(order)})


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    save_encoder(root / "one", order=[0, 1, 2], digest="one")
    save_encoder(root / "other", order=[2, 1], digest="other")
    return root


def picture(path, colour):
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), colour).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def expected(colour):
    vector = np.array(colour, np.float64)
    return vector / np.linalg.norm(vector)


COLOURS = {f"i{n}": (200 - 20 * n, 10 + 20 * n, 50) for n in range(9)}
QUERY_COLOURS = {f"q{n}": (30 * n + 10, 100, 220) for n in range(3)}


@pytest.fixture
def checked(tmp_path):
    directory = tmp_path / "checked"
    directory.mkdir()
    items, queries = [], []
    for name, colour in COLOURS.items():
        path = directory / f"{name}.png"
        items.append(Item(name, str(path), picture(path, colour), "root", name))
    for name, colour in QUERY_COLOURS.items():
        path = directory / f"{name}.png"
        queries.append(Query(name, str(path), picture(path, colour), "", "root"))
    write_items(directory / "items.jsonl", items)
    write_queries(directory / "queries.jsonl", queries)
    return directory


def embed(checked, encoder, output, *, incumbent=None, config=CONFIG, store=None):
    return embed_catalog(
        checked=checked,
        encoder=encoder,
        incumbent_bundle=incumbent,
        config=config,
        output=output,
        store=store,
    )


def test_vectors_stand_beside_their_ids(checked, encoders, tmp_path):
    figures = embed(checked, encoders / "one", tmp_path / "out")
    items = embedding_files.read(tmp_path / "out/items")
    assert sorted(items.ids) == sorted(COLOURS)
    for key, content_hash, vector in zip(items.ids, items.content_hashes, items.vectors):
        np.testing.assert_allclose(vector, expected(COLOURS[key]), atol=1e-6)
        data = (checked / f"{key}.png").read_bytes()
        assert content_hash == hashlib.sha256(data).hexdigest()
    queries = embedding_files.read(tmp_path / "out/queries")
    for key, vector in zip(queries.ids, queries.vectors):
        np.testing.assert_allclose(vector, expected(QUERY_COLOURS[key]), atol=1e-6)
    assert (figures["items"], figures["computed"], figures["reused"]) == (9, 12, 0)
    assert figures["norm_min"] == pytest.approx(1, abs=1e-5)
    summary = read_json(tmp_path / "out/summary.json")
    assert (summary["encoder_digest"], summary["embedding_dim"]) == ("one", 3)
    assert not (tmp_path / "out/queries_incumbent").exists()
    assert (tmp_path / "out/dead_letters.jsonl").read_text() == ""


def test_shards_are_sorted_and_hold_every_item_once(checked, encoders, tmp_path):
    config = EmbedConfig(batch_size=64, rows_per_shard=4)
    figures = embed(checked, encoders / "one", tmp_path / "a", config=config)
    shards = sorted((tmp_path / "a/items").iterdir())
    ids = [pq.read_table(path).column("id").to_pylist() for path in shards]
    assert ids == [["i0", "i1", "i2"], ["i3", "i4", "i5"], ["i6", "i7", "i8"]]
    assert (figures["shards"], figures["reused_shards"]) == (4, 0)
    assert not (tmp_path / "a/unfinished").exists()


def make_bundle(directory, encoder, names, vectors):
    directory.mkdir()
    (directory / "encoder").symlink_to(encoder)
    items = [
        Item(name, "", hashlib.sha256(f"{name}".encode()).hexdigest(), "root", name)
        for name in names
    ]
    write_items(directory / "items.jsonl", items)
    search.save(ExactSearcher(vectors), vectors, directory)


def bundle_of(directory, encoder, checked, names):
    """A live bundle that knows some of today's images, by marked vectors."""
    vectors = np.eye(3, dtype=np.float32)[[n % 3 for n in range(len(names))]]
    make_bundle(directory, encoder, names, vectors)
    items = [
        Item(
            f"old-{name}",
            "",
            hashlib.sha256((checked / f"{name}.png").read_bytes()).hexdigest(),
            "root",
            name,
        )
        for name in names
    ]
    write_items(directory / "items.jsonl", items)
    return vectors


def test_only_what_changed_is_computed(checked, encoders, tmp_path):
    known = bundle_of(tmp_path / "live", encoders / "one", checked, ["i2", "i5", "i7"])
    (checked / "i5.png").unlink()  # A known vector needs no image.
    figures = embed(checked, encoders / "one", tmp_path / "out", incumbent=tmp_path / "live")
    assert (figures["reused"], figures["computed"], figures["dead_letters"]) == (3, 9, 0)
    items = embedding_files.read(tmp_path / "out/items")
    vectors = dict(zip(items.ids, items.vectors))
    for name, vector in zip(["i2", "i5", "i7"], known):
        np.testing.assert_array_equal(vectors[name], vector)
    np.testing.assert_allclose(vectors["i1"], expected(COLOURS["i1"]), atol=1e-6)
    centre, before = items.vectors.mean(axis=0), known.mean(axis=0)
    cosine = centre @ before / np.linalg.norm(centre) / np.linalg.norm(before)
    assert figures["drift"] == pytest.approx(1 - cosine, abs=1e-6)
    assert not (tmp_path / "out/queries_incumbent").exists()


def test_nothing_new_at_all(checked, encoders, tmp_path):
    (checked / "queries.jsonl").unlink()
    bundle_of(tmp_path / "live", encoders / "one", checked, list(COLOURS))
    figures = embed(checked, encoders / "one", tmp_path / "out", incumbent=tmp_path / "live")
    assert (figures["reused"], figures["computed"]) == (9, 0)
    assert len(embedding_files.read(tmp_path / "out/items")) == 9


def test_another_encoder_reuses_nothing_and_embeds_the_photos_twice(checked, encoders, tmp_path):
    live = tmp_path / "live"
    make_bundle(live, encoders / "other", ["i2"], np.array([[0, 1]], np.float32))
    figures = embed(checked, encoders / "one", tmp_path / "out", incumbent=live)
    assert (figures["reused"], figures["computed"]) == (0, 15)
    assert "drift" not in figures
    theirs = embedding_files.read(tmp_path / "out/queries_incumbent")
    assert sorted(theirs.ids) == sorted(QUERY_COLOURS)
    for key, vector in zip(theirs.ids, theirs.vectors):
        red, green, blue = QUERY_COLOURS[key]
        del red
        np.testing.assert_allclose(vector, expected((blue, green)), atol=1e-6)


def test_bad_images_become_dead_letters_with_reasons(checked, encoders, tmp_path):
    (checked / "i1.png").unlink()
    (checked / "i3.png").write_bytes(b"")
    picture(checked / "i6.png", (9, 9, 9))
    picture(checked / "q2.png", (9, 9, 9))
    figures = embed(checked, encoders / "one", tmp_path / "out")
    dead = read_rejects(tmp_path / "out/dead_letters.jsonl")
    assert {(reject.kind, reject.key, reject.reason) for reject in dead} == {
        ("item", "i1", "missing_image"),
        ("item", "i3", "empty_image"),
        ("item", "i6", "changed_image"),
        ("query", "q2", "changed_image"),
    }
    assert all(reject.key in reject.detail for reject in dead)
    assert figures["dead_letters"] == 4
    assert figures["computed"] == 8
    assert len(embedding_files.read(tmp_path / "out/items")) == 6
    assert len(embedding_files.read(tmp_path / "out/queries")) == 2


def test_a_vector_that_cannot_be_searched_with_is_set_aside(checked, encoders, tmp_path):
    # A black picture has no mean colour to normalise: l2_normalize gives zeros.
    path = checked / "i4.png"
    items = [Item("black", str(path), picture(path, (0, 0, 0)), "root", "p")]
    path = checked / "i0.png"
    items.append(Item("i0", str(path), picture(path, COLOURS["i0"]), "root", "p"))
    write_items(checked / "items.jsonl", items)
    embed(checked, encoders / "one", tmp_path / "out")
    [dead] = read_rejects(tmp_path / "out/dead_letters.jsonl")
    assert (dead.key, dead.reason) == ("black", "bad_vector")
    assert embedding_files.read(tmp_path / "out/items").ids == ("i0",)


def test_too_many_dead_letters_stop_the_step_and_say_where_to_look(checked, encoders, tmp_path):
    for name in ("i1", "i2"):
        (checked / f"{name}.png").unlink()
    config = EmbedConfig(max_reject_share=0.1)
    with pytest.raises(LookalikeError, match=r"2 of 12 images \(16\.7%\).*i1: .*dead_letters") as e:
        embed(checked, encoders / "one", tmp_path / "out", config=config)
    assert not isinstance(e.value, InputError)
    assert not (tmp_path / "out/summary.json").exists()
    assert len(read_rejects(tmp_path / "out/dead_letters.jsonl")) == 2


def test_an_empty_catalog_is_refused(checked, encoders, tmp_path):
    write_items(checked / "items.jsonl", [])
    with pytest.raises(InputError, match="at least one item, found none"):
        embed(checked, encoders / "one", tmp_path / "out")


def test_what_a_killed_attempt_left_is_gone(checked, encoders, tmp_path):
    stale = tmp_path / "out/items/part-00009-of-00010.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    embed(checked, encoders / "one", tmp_path / "out")
    assert not stale.exists()


def test_one_undecodable_image_costs_only_itself(encoders, tmp_path):
    path = tmp_path / "a.png"
    picture(path, (200, 100, 50))
    good = path.read_bytes()
    handler = EncoderHandler(str(encoders / "one/saved_model"), batch_size=4)
    model = handler.load_model()
    [(before, bad, after)] = handler.run_inference([[good, b"no image", good]], model)
    assert bad == NO_VECTOR
    np.testing.assert_allclose(np.frombuffer(before, np.float32), expected((200, 100, 50)))
    assert before == after


def test_a_saved_model_without_the_signature_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "m"))
    with pytest.raises(InputError, match="expected the signature 'image_bytes', found none"):
        EncoderHandler(str(tmp_path / "m"), batch_size=4).load_model()
    with pytest.raises(InputError, match="TensorFlow cannot load the encoder"):
        EncoderHandler(str(tmp_path / "nothing"), batch_size=4).load_model()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, r"embed\.batch_size: expected at least 1, received 0"),
        ({"max_reject_share": 1.5}, r"embed\.max_reject_share.*1\.5"),
    ],
)
def test_config_is_checked(settings, message):
    with pytest.raises(InputError, match=message):
        EmbedConfig(**settings)
