"""What a run takes over from the run before, and what it makes anew."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.contracts import catalog
from components.contracts.files import sha256_bytes
from components.contracts.progress import Tally
from components.registry.kept import KeptFile
from components.transform import kept_images
from components.transform.config import TransformConfig
from components.transform.kept_images import Decoded
from components.transform.transform import transform_examples

from .conftest import encode, make_checked, products_of

CONFIG = TransformConfig(
    stored_size=16, unseen_fraction=0.25, examples_per_shard=8, max_reject_share=0.5, batch_size=4
)


def picture(number):
    return encode(Image.new("RGB", (20, 24), (250 - 5 * number, 5 * number, 77)), "JPEG")


class Shop:
    """A catalog that changes from day to day, and the runs over it."""

    def __init__(self, folder):
        self.folder, self.days = folder, 0
        trained, unseen = products_of("train"), products_of("unseen")
        self.images = {
            f"i{n:02d}": (picture(n), "sofa", trained[n] if n % 5 else unseen[n]) for n in range(30)
        }

    def day(self, config=CONFIG, *, registry=True):
        self.days += 1
        self.output = self.folder / f"day{self.days}"
        return transform_examples(
            checked=make_checked(self.output / "in", self.images),
            mode="scratch",
            config=config,
            examples=self.output / "examples",
            transform_graph=self.output / "graph",
            report=self.output / "report.html",
            registry=str(self.folder / "registry") if registry else "",
        )

    def shards(self):
        root = self.output / "examples"
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.tfrecord")}

    def statistics(self):
        """The file that training knows its examples by."""
        return (self.output / "examples/statistics.json").read_bytes()


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


def test_a_day_like_the_one_before_decodes_nothing_and_gives_the_same(shop, monkeypatch):
    first = shop.day()
    assert (first["decoded"], first["taken_over"]) == (30, 0)
    shards, statistics = shop.shards(), shop.statistics()
    monkeypatch.setattr("components.contracts.image_reading.read_image", None)
    second = shop.day()
    assert (second["decoded"], second["taken_over"]) == (0, 30)
    assert shop.shards() == shards
    assert shop.statistics() == statistics
    assert "taken over from an earlier run" in (shop.output / "report.html").read_text()
    assert not (shop.output / "examples/unfinished").exists()


def test_only_what_is_new_or_changed_is_decoded_and_all_of_it_counts(shop):
    shop.day()
    trained = products_of("train")
    shop.images["i01"] = (picture(45), "chair", shop.images["i01"][2])
    del shop.images["i02"], shop.images["i03"]
    shop.images |= {f"n{n}": (picture(40 + n), "sofa", trained[40 + n]) for n in range(2)}
    # A label that changed is written anew though its image did not change.
    data, _, product = shop.images["i04"]
    shop.images["i04"] = (data, "table-lamp", product)
    figures = shop.day()
    assert (figures["decoded"], figures["taken_over"]) == (3, 27)
    shards, statistics = shop.shards(), shop.statistics()
    # The same catalog, with nothing to take over.
    shop.day(registry=False)
    assert shop.shards() == shards
    assert shop.statistics() == statistics


def test_what_left_is_collected(shop):
    shop.day()
    store = shop.folder / "registry/reuse/examples"
    (key,) = store.iterdir()
    listed = {f["sha256"] for f in json.loads((key / "list.json").read_text())["files"]}
    del shop.images["i01"]
    shop.day()
    now = {f["sha256"] for f in json.loads((key / "list.json").read_text())["files"]}
    assert now != listed
    hashes = {sha256_bytes(data) for data, _, _ in shop.images.values()}
    rows = [
        kept_images.read_rows((key / "files" / sha).read_bytes(), size=16, wanted=hashes).keys()
        for sha in now
    ]
    assert set().union(*rows) == hashes
    gone = {sha256_bytes(picture(1))}
    for sha in now:
        data = (key / "files" / sha).read_bytes()
        assert not kept_images.read_rows(data, size=16, wanted=gone)


def test_a_flipped_byte_is_noticed_and_decoded_again(shop, capsys):
    shop.day()
    shards = shop.shards()
    path = max((shop.folder / "registry").glob("reuse/examples/*/files/*"))
    path.write_bytes(path.read_bytes()[:-5] + b"?" + path.read_bytes()[-4:])
    figures = shop.day()
    assert 0 < figures["decoded"] < 30
    assert "another SHA-256" in capsys.readouterr().out
    assert shop.shards() == shards
    assert shop.day()["decoded"] == 0


def test_another_graph_takes_nothing_over(shop):
    shop.day()
    assert shop.day(dataclasses.replace(CONFIG, halo_white=200))["taken_over"] == 0
    assert shop.day(dataclasses.replace(CONFIG, min_image_side=9))["taken_over"] == 0
    # How many images a shard or a batch has does not change what they are.
    other = dataclasses.replace(CONFIG, examples_per_shard=5, batch_size=3)
    assert shop.day(other)["taken_over"] == 30


def test_one_bad_copy_of_an_image_costs_only_itself(shop):
    data, _, product = shop.images["i01"]
    shop.images["twin"] = (data, "sofa", product)
    checked = make_checked(shop.folder / "in", shop.images)
    (shop.folder / "in/images/twin").unlink()
    figures = transform_examples(
        checked=checked,
        mode="scratch",
        config=CONFIG,
        examples=shop.folder / "examples",
        transform_graph=shop.folder / "graph",
        report=shop.folder / "report.html",
    )
    assert figures["dead_letters"] == 1
    (dead,) = catalog.read_rejects(shop.folder / "examples/dead_letters.jsonl")
    assert (dead.key, dead.reason) == ("twin", "missing_image")


def test_two_workers_write_what_one_writes_and_tell_how_far_they_are(shop, monkeypatch):
    shop.day()
    shards, statistics = shop.shards(), shop.statistics()
    told = []
    read = Tally.read
    monkeypatch.setattr(Tally, "read", lambda self: told.append(read(self)) or told[-1])
    figures = shop.day(dataclasses.replace(CONFIG, workers=2), registry=False)
    assert figures["decoded"] == 30
    assert told[-1] == (30, 0)
    assert shop.shards() == shards
    assert shop.statistics() == statistics


def test_rows_come_back_as_they_were():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 5, 3), np.uint8)
    background = np.where(rng.random((5, 5)) < 0.5, np.uint8(255), np.uint8(0))
    one = Decoded(image.tobytes(), background.tobytes(), kept_images.sums_of(image))
    assert one.sums[:3] == tuple(image.reshape(-1, 3).astype(int).sum(axis=0))
    assert one.sums[3:] == tuple((image.reshape(-1, 3).astype(int) ** 2).sum(axis=0))
    data = kept_images.write_rows([("a", one), ("b", one)])
    assert kept_images.read_rows(data, size=5, wanted={"a", "b"}) == {"a": one, "b": one}
    assert kept_images.read_rows(data, size=5, wanted={"b", "c"}) == {"b": one}
    assert kept_images.total([one.sums, one.sums]) == [2 * value for value in one.sums]


def test_files_that_may_hold_an_item():
    files = [
        KeptFile("x", 1, {"split": "train", "first": a, "last": b}) for a, b in ("ac", "df", "gk")
    ]
    assert kept_images.overlapping(files, "train", "d", "e") == files[1:2]
    assert kept_images.overlapping(files, "train", "c", "g") == files
    assert kept_images.overlapping(files, "train", "l", "z") == []
    assert kept_images.overlapping(files, "unseen", "a", "z") == []


def test_the_graph_that_decodes_is_known_by_its_code(monkeypatch):
    key = kept_images.graph_key(CONFIG)
    assert kept_images.graph_key(dataclasses.replace(CONFIG, workers=7, batch_size=9)) == key
    assert kept_images.graph_key(dataclasses.replace(CONFIG, stored_size=17)) != key
    monkeypatch.setattr(tf, "__version__", "0.1")
    assert kept_images.graph_key(CONFIG) != key
