import pytest

from components.contracts.errors import InputError
from components.train.augment_config import Augmentation
from components.train.config import TrainConfig, read_options


def test_a_config_survives_the_way_through_plain_values():
    config = TrainConfig(epochs=3, augmentation=Augmentation(scale=(0.5, 1.0)))
    assert TrainConfig.from_mapping(config.to_mapping()) == config


def test_whole_numbers_may_come_as_floats():
    assert TrainConfig.from_mapping({"epochs": 3.0}).epochs == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"depth": 20}, r"train\.depth: expected one of \(10, 18, 34, 50\), received 20"),
        ({"epochs": -1}, r"train\.epochs: expected at least 0, received -1"),
        ({"epochs": 1.5}, r"train\.epochs: expected a value like"),
        ({"epochs": True}, r"train\.epochs: expected a value like"),
        ({"learning_rate": 0}, r"train\.learning_rate: expected more than 0"),
        ({"catalog_temperature": 0}, r"train\.catalog_temperature: expected more than 0"),
        ({"catalog_weight": -1}, r"train\.catalog_weight: expected at least 0"),
        ({"label_smoothing": 1.0}, r"train\.label_smoothing: expected 0 to below 1"),
        ({"batch_size": 65}, r"train\.batch_size: expected a multiple of the 2 workers"),
        ({"precision": "half"}, r"train\.precision: expected one of"),
        ({"sync_batch_norm": True}, r"train\.sync_batch_norm: expected a value like 'auto'"),
        ({"sync_batch_norm": "yes"}, r"train\.sync_batch_norm: expected one of"),
        ({"empty_leaves": "maybe"}, r"train\.empty_leaves: expected one of \('refuse', 'allow'\)"),
        ({"epoch": 1}, r"train\.epoch: no such parameter; there are .*epochs"),
        ({"augmentation": {"scales": 1}}, r"train\.augmentation\.scales: no such parameter"),
        ({"augmentation": {"scale": [1.0, 0.5]}}, r"train\.augmentation\.scale: expected"),
        ({"augmentation": {"white_share": 2.0}}, r"train\.augmentation\.white_share: expected"),
        ({"augmentation": {"textures": 0}}, r"train\.augmentation\.textures: expected"),
        ({"augmentation": 1}, r"train\.augmentation: expected a mapping"),
        ({"class_balance": 1.5}, r"train\.class_balance: expected 0 to 1"),
        ({"views_per_product": 3}, r"views_per_product: expected a divisor of the 64 examples"),
        ({"contrastive_weight": 1}, r"contrastive_weight: expected 0 while views_per_product is 1"),
        (
            {"product_weight": 0, "leaf_weight": 0, "ancestor_weight": 0},
            "at least one of product_weight",
        ),
    ],
)
def test_a_bad_value_is_refused_by_name(values, words):
    with pytest.raises(InputError, match=words):
        TrainConfig.from_mapping(values)


@pytest.mark.parametrize(
    ("choice", "batch_size", "expected"),
    [("auto", 62, True), ("auto", 64, False), ("always", 128, True), ("never", 8, False)],
)
def test_normalisation_is_shared_where_a_worker_alone_has_too_few(choice, batch_size, expected):
    config = TrainConfig(workers=2, batch_size=batch_size, sync_batch_norm=choice)
    assert config.synchronizes_batch_norm(replicas=2) is expected


def test_options_are_fields_without_a_parameter_of_their_own():
    text = '{"margin": 0.1, "augmentation": {"noise": 0}}'
    options = read_options(text, taken={"epochs"})
    config = TrainConfig.from_mapping({"epochs": 3, **options})
    assert (config.epochs, config.margin, config.augmentation.noise) == (3, 0.1, 0.0)
    assert read_options("", taken={"epochs"}) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("margin=1", r"train\.options: expected a JSON object.*correct it"),
        ("[1]", r"train\.options: expected a JSON object.*received list"),
        ('{"epochs": 3}', r"train\.options: expected no epochs.*set train\.epochs instead"),
    ],
)
def test_options_that_cannot_be_read_are_refused(text, words):
    with pytest.raises(InputError, match=words):
        read_options(text, taken={"epochs"})
