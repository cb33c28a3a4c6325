"""Every way in which a bundle may be wrong, and one that is right."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from components.contracts.errors import InputError
from components.contracts.files import read_json, write_json
from components.contracts.images import BadImageError
from components.search import neighbours
from components.search.query import Wanted
from serving.bundle_loader import Loader, load

pytestmark = pytest.mark.slow  # TensorFlow is imported.


def test_a_whole_bundle_loads_and_its_encoder_agrees_with_the_hand_computed_vector(maker):
    bundle = load(maker.bundle("v1"))
    assert bundle.version == "v1"
    assert set(bundle.timings) == {"sums", "items", "index", "tensorflow", "encoder", "golden"}
    # (51, 102, 204) / 255 = (0.2, 0.4, 0.8) and 64 / 255 = 0.25098; the norm is 0.950259.
    vector = bundle.encode([maker.png((51, 102, 204))])
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [[0.210469, 0.420938, 0.841876, 0.264117]], atol=2e-5)


def test_a_flipped_byte_in_any_file_is_found_before_anything_is_loaded(maker, monkeypatch):
    directory = maker.bundle("v1")
    monkeypatch.setattr("serving.bundle_loader.search.load", lambda _: pytest.fail("loaded"))
    names = list(json.loads((directory / "manifest.json").read_text())["files"])
    assert "encoder/saved_model/saved_model.pb" in names
    for name in names:
        path = directory / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"v1 is damaged: {name}"):
            load(directory)
        data[len(data) // 2] ^= 1
        path.write_bytes(data)


def test_a_table_of_neighbours_is_taken_only_when_it_is_of_this_index(
    maker, small_table, monkeypatch
):
    monkeypatch.setattr("serving.bundle_loader.PLAIN", Wanted(3))
    directory = maker.bundle("v1")
    assert load(directory).neighbours is None
    small_table(load(directory))
    table = directory / neighbours.NEIGHBOURS_FILE
    shutil.copyfile(maker.root / neighbours.NEIGHBOURS_FILE, table)
    maker.seal(directory, "v1")
    assert load(directory).neighbours is not None
    rows = np.load(table)
    for wrong, message in (
        (np.roll(rows, 2), "the table is not of this index"),
        (rows[:-1], "expected 12 rows"),
    ):
        np.save(table, wrong)
        maker.seal(directory, "v1")
        with pytest.raises(InputError, match=message):
            load(directory)


def test_bundles_with_the_same_encoder_share_it_and_others_do_not(maker, saved_model):
    loader = Loader()
    first, second = loader(maker.bundle("v1")), loader(maker.bundle("v2"))
    assert first.encode is second.encode
    other = maker.bundle("v3")
    (other / "encoder/saved_model/more.txt").write_text("another encoder")
    maker.seal(other, "v3")
    assert loader(other).encode is not first.encode


def test_sums_that_were_just_compared_are_not_compared_again(maker, monkeypatch):
    directory = maker.bundle("v1")
    digest = load(directory).digest
    monkeypatch.setattr("serving.bundle_loader.verify", lambda *_: pytest.fail("read twice"))
    assert Loader()(directory, verified=digest).version == "v1"
    with pytest.raises(pytest.fail.Exception):
        Loader()(directory, verified="0" * 64)


def test_a_directory_without_a_manifest_is_not_a_bundle(maker):
    directory = maker.bundle("v1", encoder=False)
    (directory / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"manifest\.json: expected a JSON file"):
        load(directory)


def test_an_index_that_answers_otherwise_than_recorded_is_refused(maker):
    directory = maker.bundle("v1")
    answers = read_json(directory / "golden/answers.json")
    first = answers["queries"][0]["item_ids"]
    first[0], first[2] = first[2], first[0]
    write_json(directory / "golden/answers.json", answers)
    maker.seal(directory, "v1")
    with pytest.raises(InputError, match=r"golden query q0: .*does not answer as it did"):
        load(directory)


def test_an_encoder_that_sees_a_golden_photo_otherwise_is_refused(maker):
    directory = maker.bundle("v1")
    (directory / "golden/images/000.png").write_bytes(maker.png((60, 200, 60)))
    maker.seal(directory, "v1")
    with pytest.raises(
        InputError, match=r"golden query q0: .*not the one that the index was built"
    ):
        load(directory)


def test_an_encoder_of_another_digest_is_refused(maker):
    directory = maker.bundle("v1", encoder=False)
    write_json(directory / "encoder/encoder.json", {"digest": "other", "embedding_dim": 4})
    maker.seal(directory, "v1")
    with pytest.raises(InputError, match=r"built with the encoder tiny of 4 .* holds other of 4"):
        load(directory)


def test_a_saved_model_without_the_signature_is_refused(maker, saved_model):
    import tensorflow as tf

    directory = maker.bundle("v1")
    tf.saved_model.save(tf.Module(), str(directory / "encoder/saved_model"))
    maker.seal(directory, "v1")
    with pytest.raises(InputError, match="expected the signature 'image_bytes', found none"):
        load(directory)


def test_a_bundle_without_golden_queries_is_refused(maker):
    directory = maker.bundle("v1")
    write_json(directory / "golden/answers.json", {"k": 3, "queries": []})
    np.save(directory / "golden/queries.npy", np.empty((0, 4), np.float32))
    maker.seal(directory, "v1")
    with pytest.raises(InputError, match="at least one golden query"):
        load(directory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"taxonomy_digest": "0" * 64}, r"taxonomy\.csv is not the one that the manifest names"),
        ({"items": 13}, r"the manifest says 13 items of 4 dimensions, the index holds \[12, 4\]"),
        ({"embedding_dim": 5}, r"the manifest says 12 items of 5 dimensions"),
        ({"encoder_digest": "elsewhere"}, r"built with the encoder elsewhere"),
    ],
)
def test_parts_that_the_manifest_does_not_name_are_refused(maker, changes, message):
    directory = maker.bundle("v1", encoder=False)
    maker.seal(directory, "v1", **changes)
    with pytest.raises(InputError, match=message):
        load(directory)


def test_an_encoder_whose_vectors_are_not_of_unit_norm_is_refused(maker):
    import tensorflow as tf

    class Doubled(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def image_bytes(self, images):
            return tf.fill([tf.shape(images)[0], 4], 1.0)

    directory = maker.bundle("v1")
    model = Doubled()
    path = str(directory / "encoder/saved_model")
    tf.saved_model.save(model, path, signatures={"image_bytes": model.image_bytes})
    maker.seal(directory, "v1")
    with pytest.raises(InputError, match="finite vectors of norm 1"):
        load(directory)


def test_bytes_that_the_graph_cannot_decode_are_a_refusal_of_the_image(maker):
    bundle = load(maker.bundle("v1"))
    with pytest.raises(BadImageError) as caught:
        bundle.encode([b"not an image"])
    assert caught.value.reason == "undecodable_image"
