from collections import Counter

import pytest

from components.contracts.catalog import Item, is_unseen
from components.contracts.near_duplicates import NearDuplicates
from components.transform.config import TransformConfig
from components.transform.shards import ShardPlan, shard_name, unseen_products


def items(count):
    return [Item(f"i{n}", "", "", "chair", f"p{n // 4}") for n in range(count)]


def test_shards_are_even_mixed_and_independent_of_the_order():
    config = TransformConfig(examples_per_shard=50)
    catalog = items(2000)
    plan = ShardPlan.of(catalog, config)
    assert ShardPlan.of(catalog[::-1], config) == plan
    trained = [item for item in catalog if plan.split(item.product_id) == "train"]
    sizes = Counter(plan.shard("train", item.item_id) for item in trained)
    assert sorted(sizes) == list(range(plan.count("train")))
    assert plan.count("train") == -(-len(trained) // 50)
    assert max(sizes.values()) - min(sizes.values()) <= 1
    # The four images of a product do not sit together.
    together = [
        len({plan.shard("train", f"i{4 * number + k}") for k in range(4)}) == 1
        for number in range(500)
    ]
    assert sum(together) < 5


def test_every_training_worker_finds_a_shard_even_in_a_small_catalog():
    plan = ShardPlan.of(items(40), TransformConfig(min_train_shards=4))
    assert plan.count("train") == 4
    assert plan.count("unseen") == 1


@pytest.mark.parametrize("count", [0, 1, 3])
def test_there_are_never_more_shards_than_items(count):
    plan = ShardPlan.of(items(count), TransformConfig(unseen_fraction=0.0))
    assert plan.count("train") == max(1, count)


def test_shard_names():
    assert shard_name(3, 12) == "part-00003-of-00012.tfrecord"


def test_products_that_share_an_image_are_on_one_side_and_what_was_trained_on_stays_there():
    config = TransformConfig(unseen_fraction=0.25)
    names = [f"p{n}" for n in range(100)]
    apart = [one for one in names if is_unseen(one, fraction=0.25)]
    trained = [one for one in names if one not in apart]
    assert unseen_products(names, config, NearDuplicates()) == set(apart)
    copies = NearDuplicates(
        products=((apart[0], trained[0]), (apart[1], apart[2]), (trained[1], trained[2]))
    )
    assert unseen_products(names, config, copies) == set(apart) - {apart[0]}
    plan = ShardPlan.of([Item(f"i{n}", "", "", "chair", n) for n in names], config, copies)
    assert [plan.split(one) for one in copies.products[0]] == ["train", "train"]
    assert [plan.split(one) for one in copies.products[1]] == ["unseen", "unseen"]
