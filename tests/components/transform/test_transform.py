import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
from PIL import Image

from components.contracts import catalog
from components.contracts.errors import InputError, LookalikeError
from components.contracts.images import admit, read_image
from components.contracts.near_duplicates import NEAR_DUPLICATES_FILE, NearDuplicates
from components.transform.config import TransformConfig
from components.transform.transform import transform_examples

from .conftest import (
    BLUE,
    BROKEN,
    FORMATS,
    GREY_16,
    RED,
    TREE,
    encode,
    make_checked,
    products_of,
)

SIZE = 24
CONFIG = TransformConfig(
    stored_size=SIZE, unseen_fraction=0.25, examples_per_shard=8, max_reject_share=0.1
)


def run(checked, folder, config=CONFIG, mode="scratch"):
    return transform_examples(
        checked=checked,
        mode=mode,
        config=config,
        examples=folder / "examples",
        transform_graph=folder / "graph",
        report=folder / "report.html",
    )


@pytest.fixture(scope="session")
def outcome(awkward, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outcome")
    return folder, run(awkward, folder)


def examples(folder, split):
    """Returns item id to its features, and checks that no id comes twice."""
    found = {}
    for path in sorted((folder / "examples" / split).iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            (item_id,) = features["item_id"].bytes_list.value
            assert item_id.decode() not in found
            (image,) = features["image"].bytes_list.value
            (background,) = features["background"].bytes_list.value
            (product_id,) = features["product_id"].bytes_list.value
            found[item_id.decode()] = {
                "image": np.frombuffer(image, np.uint8).reshape(SIZE, SIZE, 3),
                "background": np.frombuffer(background, np.uint8).reshape(SIZE, SIZE),
                "label_path": list(features["label_path"].int64_list.value),
                "product_id": product_id.decode(),
                "shard": path.name,
            }
    return found


@pytest.fixture(scope="session")
def train(outcome):
    return examples(outcome[0], "train")


def statistics(folder):
    return json.loads((folder / "examples/statistics.json").read_text())


def test_broken_images_become_dead_letters_and_everything_else_is_there(awkward, outcome, train):
    folder, figures = outcome
    dead = catalog.read_rejects(folder / "examples/dead_letters.jsonl")
    assert {reject.key: reject.reason for reject in dead} == {
        name: reason for name, (_, reason) in BROKEN.items()
    }
    assert all(reject.kind == "image" and reject.key in reject.detail for reject in dead)
    expected = {item.item_id for item in catalog.read_items(awkward / catalog.ITEMS_FILE)}
    assert set(train) | set(examples(folder, "unseen")) == expected - set(BROKEN)
    assert figures["dead_letters"] == 4


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_ends_upright_in_the_right_colours(train, name):
    image = train[name]["image"].astype(int)
    tolerance = 40 if name == "cmyk" else 12
    assert image[2, 2] == pytest.approx([255, 255, 255], abs=tolerance)
    assert image[9, 12] == pytest.approx(RED, abs=tolerance)
    assert image[15, 12] == pytest.approx(BLUE, abs=tolerance)


def test_sixteen_bits_become_eight(train):
    expected = np.asarray(
        Image.fromarray((GREY_16 / 257).astype(np.uint8)).resize(
            (SIZE, SIZE), Image.Resampling.BILINEAR
        )
    )
    assert np.abs(train["deep"]["image"].astype(int) - expected[:, :, None]).max() <= 2


def test_what_is_not_square_gets_white_margins(train):
    image = train["wide"]["image"]
    assert (image[:5] == 255).all()
    assert (image[19:] == 255).all()


def test_backgrounds_are_where_the_white_is(train):
    background = train["plain"]["background"]
    assert set(np.unique(background)) == {0, 255}
    expected = np.full((SIZE, SIZE), 255, np.uint8)
    expected[6:18, 6:18] = 0
    assert (background == expected).all()


def test_label_paths_are_class_ids_from_the_department_down(train):
    assert train["plain"]["label_path"] == [TREE.class_id("lamps"), TREE.class_id("table-lamp")]
    assert train["deep"]["label_path"] == [TREE.class_id("seating")]
    assert train["unlabelled"]["label_path"] == []


def test_products_are_on_one_side_of_the_split(outcome, train):
    unseen = examples(outcome[0], "unseen")
    assert set(unseen) == {f"black{n}" for n in range(6)}
    assert not {e["product_id"] for e in unseen.values()} & {
        e["product_id"] for e in train.values()
    }


def test_statistics(outcome, train):
    folder, figures = outcome
    found = statistics(folder)
    assert found["stored_size"] == SIZE
    assert found["train"] == {
        "examples": 42,
        "shards": 6,
        "products": len({e["product_id"] for e in train.values()}),
    }
    assert found["unseen"] == {"examples": 6, "shards": 1, "products": 3}
    assert found["rejects"] == dict.fromkeys(
        ("changed_image", "empty_image", "not_an_image", "truncated_image"), 1
    )
    paths = [number for e in train.values() for number in e["label_path"]]
    assert found["class_counts"] == {str(n): paths.count(n) for n in sorted(set(paths))}
    assert figures["train_examples"] == 42
    assert len(list((folder / "examples/train").iterdir())) == 6
    assert (folder / "examples/train/part-00000-of-00006.tfrecord").exists()


def test_only_the_training_split_is_analysed(outcome, train):
    """The unseen products are black: one of them in the analysis would darken the mean."""
    pixels = np.concatenate([e["image"].reshape(-1, 3) for e in train.values()]).astype(float)
    found = statistics(outcome[0])
    assert found["channel_mean"] == pytest.approx(pixels.mean(axis=0), abs=0.01)
    assert found["channel_std"] == pytest.approx(pixels.std(axis=0), abs=0.05)


def test_a_product_whose_copy_is_trained_on_is_trained_on(tmp_path):
    trained, unseen = products_of("train"), products_of("unseen")
    chosen = [*trained[:6], *unseen[:2]]
    colours = [(20 * n, 90, 200 - 20 * n) for n in range(8)]
    images = {
        f"i{n}": (encode(Image.new("RGB", (32, 32), colour)), "chair", product)
        for n, (colour, product) in enumerate(zip(colours, chosen, strict=True))
    }
    checked = make_checked(tmp_path, images)
    NearDuplicates(items=(("i0", "i6"),), products=(tuple(sorted((trained[0], unseen[0]))),)).write(
        checked / NEAR_DUPLICATES_FILE
    )
    assert run(checked, tmp_path)["trained_for_a_copy"] == 1
    assert {one["product_id"] for one in examples(tmp_path, "unseen").values()} == {unseen[1]}
    assert statistics(tmp_path)["near_duplicates"] == {"products": 2, "trained_for_a_copy": 1}
    report = (tmp_path / "report.html").read_text()
    assert "2 products share an image with another one" in report


def test_the_saved_graph_gives_the_pixels_that_are_on_disk(awkward, outcome, train):
    folder, _ = outcome
    output = tft.TFTransformOutput(str(folder / "graph"))
    assert list(output.raw_feature_spec()) == ["image_bytes"]
    layer = output.transform_features_layer()
    saved = tf.saved_model.load(str(folder / "graph/transform_fn"))
    items = {item.item_id: item for item in catalog.read_items(awkward / catalog.ITEMS_FILE)}
    names = sorted(train)
    batch = tf.constant([admit(read_image(items[name].image)) for name in names])
    results = layer({"image_bytes": batch})
    again = saved.transform_fn({"image_bytes": batch})
    for place, name in enumerate(names):
        assert (results["image"][place].numpy() == train[name]["image"]).all()
        assert (results["background"][place].numpy() == train[name]["background"]).all()
        assert (again["image"][place].numpy() == train[name]["image"]).all()
    # One image alone gives what it gives in a batch.
    alone = layer({"image_bytes": batch[:1]})
    assert (alone["image"][0].numpy() == train[names[0]]["image"]).all()
    mean = results["channel_mean"].numpy()
    assert mean.shape == (len(names), 3)
    assert mean[0] == pytest.approx(statistics(folder)["channel_mean"], abs=0.001)


def test_a_rare_label_is_trained_as_an_ancestor(awkward, train, tmp_path):
    # All lamps are table lamps, so their department is as rare as they are.
    lamps = [TREE.class_id("lamps"), TREE.class_id("table-lamp")]
    count = sum(e["label_path"] == lamps for e in train.values())
    figures = run(awkward, tmp_path, dataclasses.replace(CONFIG, min_class_images=count + 1))
    found = examples(tmp_path, "train")
    assert train["plain"]["label_path"] == lamps
    assert found["plain"]["label_path"] == []
    assert found["deep"]["label_path"] == train["deep"]["label_path"]
    rare = statistics(tmp_path)["rare_classes"]
    assert rare["table-lamp"] == {"images": count, "trained_as": TREE.root}
    assert figures["rare_classes"] == len(rare)
    report = (tmp_path / "report.html").read_text()
    assert "its product alone" in report


def test_the_report_shows_images_and_reasons(outcome):
    page = (outcome[0] / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 36
    assert "truncated_image" in page
    assert len(page) < 2_000_000


def test_a_second_run_writes_the_same_bytes_and_forgets_the_first(awkward, outcome, tmp_path):
    """The second run allows fewer dead letters, so it also shows how the step stops."""
    (tmp_path / "examples/train").mkdir(parents=True)
    (tmp_path / "examples/train/part-00000-of-00099.tfrecord").write_bytes(b"half")
    strict = dataclasses.replace(CONFIG, max_reject_share=0.05)
    with pytest.raises(LookalikeError, match="4 of 52 images were set aside") as error:
        run(awkward, tmp_path, strict)
    assert "changed_image 1" in str(error.value)
    assert "the 2 that transform.max_reject_share = 0.05 allows" in str(error.value)
    assert "changed_image" in (tmp_path / "report.html").read_text()

    def contents(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in (folder / "examples").rglob("*")
            if path.is_file()
        }

    first, second = contents(outcome[0]), contents(tmp_path)
    # What marks the output as whole is the one thing that a stopped run does not write.
    assert first.pop("examples/statistics.json")
    assert first.pop("examples/reuse.json")
    assert second == first


def test_nothing_to_train_on_is_told_before_anything_runs(tmp_path):
    checked = make_checked(tmp_path, {})
    with pytest.raises(InputError, match="expected items to train on, found none among 0"):
        run(checked, tmp_path)


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected scratch, warm, reuse"):
        run(tmp_path, tmp_path, mode="auto")


def test_mode_reuse_leaves_a_note_and_loads_no_tensorflow(tmp_path):
    code = f"""
import sys
from pathlib import Path
from components.transform.config import TransformConfig
from components.transform.transform import transform_examples
folder = Path({str(tmp_path)!r})
print(transform_examples(checked=folder, mode="reuse", config=TransformConfig(),
    examples=folder / "examples", transform_graph=folder / "graph", report=folder / "r.html"))
assert "tensorflow" not in sys.modules and "apache_beam" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "{'skipped': 1.0}"
    for name in ("examples", "graph"):
        assert json.loads((tmp_path / name / "skipped.json").read_text())["skipped"] is True
    assert "the live encoder brings its own" in (tmp_path / "r.html").read_text()
