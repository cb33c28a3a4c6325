import numpy as np
import pytest
import tensorflow as tf

from components.contracts.errors import InputError
from components.contracts.files import write_json
from components.train.augment_config import Augmentation
from components.train.data import (
    Parser,
    Statistics,
    class_repeats,
    own_records,
    scan,
    training_batches,
    unseen_batches,
)
from components.train.encoder import to_input
from components.train.labels import LabelSpace
from tests.components.train.conftest import PRODUCTS, STORED_SIZE, VIEWS, draw


@pytest.fixture
def labels(taxonomy, examples):
    return LabelSpace.of(taxonomy, (product for product, _ in scan(examples, "train")))


def batches(examples, labels, *, first_batch=0, shard=0, shards=1, cache_megabytes=64, **sampling):
    return training_batches(
        examples,
        parser=Parser(labels, STORED_SIZE),
        statistics=Statistics.read(examples),
        augmentation=Augmentation(textures=4),
        input_size=24,
        batch_size=8,
        seed=5,
        first_batch=first_batch,
        shard=shard,
        shards=shards,
        cache_megabytes=cache_megabytes,
        **sampling,
    )


def same_tensors(batch, other):
    for tensor, same in zip(tf.nest.flatten(batch), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(tensor, same)


def test_scanning_finds_every_example(examples, taxonomy):
    found = list(scan(examples, "train"))
    assert len(found) == VIEWS * sum(split == "train" for *_, split in PRODUCTS)
    path = tuple(taxonomy.class_id(node) for node in taxonomy.path("sofas"))
    assert ("sofa-0", path) in found
    assert ("seat-of-some-kind", path[:1]) in found


def test_labels_known_to_an_inner_node_leave_the_leaf_unknown(examples, labels):
    rows = np.concatenate([rows.numpy() for _, rows, _ in batches(examples, labels).take(12)])
    product = labels.products.index("seat-of-some-kind")
    vague = rows[rows[:, 2] == product]
    assert len(vague)
    assert set(vague[:, 1]) == {-1}
    assert (vague[:, 0] >= 0).all()
    assert (rows[rows[:, 2] != product] >= 0).all()


def test_products_held_out_have_no_row_of_their_own(examples, labels):
    images, rows = next(iter(unseen_batches(examples, parser=Parser(labels, 32), batch_size=16)))
    assert images.shape == (VIEWS, 32, 32, 3)
    assert set(rows.numpy()[:, 2]) == {-1}
    assert (rows.numpy()[:, :2] >= 0).all()


@pytest.mark.parametrize("cache_megabytes", [0, 64])
def test_a_restart_meets_the_same_batches(examples, labels, cache_megabytes):
    whole = list(batches(examples, labels, cache_megabytes=cache_megabytes).take(9))
    rest = batches(examples, labels, first_batch=7, cache_megabytes=cache_megabytes).take(2)
    for batch, other in zip(whole[7:], rest, strict=True):
        same_tensors(batch, other)


def test_each_example_says_which_item_it_is(examples, labels):
    _, rows, ids = next(iter(batches(examples, labels)))
    for row, item in zip(rows.numpy(), ids.numpy(), strict=True):
        assert item.decode().rsplit("-", 1)[0] == labels.products[row[2]]


@pytest.mark.parametrize("cache_megabytes", [0, 64])
def test_a_batch_brings_the_catalog_views_it_was_made_from(examples, labels, cache_megabytes):
    views, _, ids = next(iter(batches(examples, labels, cache_megabytes=cache_megabytes)))
    assert views.images.shape == (8, 24, 24, 3)
    assert views.share.shape == (8, 24, 24, 1)
    products = [product for product, *_ in PRODUCTS]
    for item, catalog in zip(ids.numpy(), views.catalog.numpy(), strict=True):
        product, view = item.decode().rsplit("-", 1)
        image, _ = draw(products.index(product), int(view))
        small = to_input(tf.constant(image[None]), 24)[0]
        np.testing.assert_allclose(catalog, small, atol=1)


def test_workers_share_the_examples_out(examples, labels):
    seen = []
    for shard in range(2):
        epoch = batches(examples, labels, shard=shard, shards=2).take(3)
        seen.append({tuple(row) for _, rows, _ in epoch for row in rows.numpy()})
    assert seen[0] | seen[1] == {
        tuple(row) for _, rows, _ in batches(examples, labels).take(6) for row in rows.numpy()
    }


def test_the_stream_does_not_end(examples, labels):
    assert batches(examples, labels).cardinality() == tf.data.INFINITE_CARDINALITY


def test_statistics_without_training_examples_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"statistics\.json"):
        Statistics.read(tmp_path)
    values = {
        "stored_size": 8, "train": {"examples": 0}, "unseen": {"examples": 0},
        "channel_mean": [0, 0, 0], "channel_std": [1, 1, 1],
    }  # fmt: skip
    write_json(tmp_path / "statistics.json", values)
    with pytest.raises(InputError, match="expected training examples, received none"):
        Statistics.read(tmp_path)
    write_json(tmp_path / "statistics.json", {"stored_size": 8})
    with pytest.raises(InputError, match="expected the statistics that transform writes"):
        Statistics.read(tmp_path)


def test_two_views_of_a_product_meet_in_a_batch(examples, labels):
    for _, rows, _ in batches(examples, labels, views_per_product=2).take(6):
        products = rows.numpy()[:, -1]
        np.testing.assert_array_equal(products[::2], products[1::2])
    with pytest.raises(InputError, match=r"cache_megabytes of at least 1, received 2 and 0"):
        batches(examples, labels, views_per_product=2, cache_megabytes=0)


def test_balance_counts_the_deepest_class_that_is_known(examples, labels):
    # Leaves with 4, 3 and 4 products, one more known by its department alone, of as many views.
    repeats = class_repeats(examples, labels, 1.0)
    leaves = sorted(repeats[1, : len(labels.levels[1])])
    np.testing.assert_allclose(leaves, [3 / 4, 3 / 4, 1.0], rtol=1e-5)
    assert sorted(set(repeats[0].tolist())) == pytest.approx([1.0, 3.0])
    seen = [
        row[1]
        for _, rows, _ in batches(examples, labels, repeats=repeats).take(24)
        for row in rows.numpy()
    ]
    assert set(seen) == {-1, 0, 1, 2}


@pytest.mark.parametrize("cache_megabytes", [0, 64])
@pytest.mark.parametrize("balanced", [False, True])
def test_threads_change_nothing_in_the_batches(examples, labels, cache_megabytes, balanced):
    repeats = class_repeats(examples, labels, 0.5) if balanced else None
    options = {"cache_megabytes": cache_megabytes, "repeats": repeats}
    one = list(batches(examples, labels, **options).take(9))
    many = list(batches(examples, labels, threads=8, **options).take(9))
    later = list(batches(examples, labels, threads=3, first_batch=7, **options).take(2))
    for batch, other in zip(one + one[7:], many + later, strict=True):
        same_tensors(batch, other)


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_every_record_has_one_worker_and_shares_are_even(tmp_path, shards):
    names = [str(tmp_path / f"{number}.tfrecord") for number in range(5)]
    for number, name in enumerate(names):
        with tf.io.TFRecordWriter(name) as writer:
            for record in range(6):
                writer.write(f"{number}-{record}".encode())
    shares = [
        [record.numpy() for record in own_records(names, shard=shard, shards=shards, threads=6)]
        for shard in range(shards)
    ]
    together = [record for share in shares for record in share]
    assert len(set(together)) == len(together) == 30
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
