import pytest

from components.contracts.errors import InputError
from components.train.config import TrainConfig
from components.train.plan import Plan, level_weights


def test_the_plan_counts_whole_batches():
    config = TrainConfig(
        epochs=10, batch_size=64, warmup_epochs=1, early_input_size=48, early_share=0.5
    )
    plan = Plan.of(config, 1806)
    assert plan == Plan(steps_per_epoch=28, total_steps=280, early_steps=140, warmup_steps=28)
    assert Plan.of(TrainConfig(epochs=1, batch_size=64), 64).total_steps == 1


def test_fewer_examples_than_a_batch_are_refused():
    words = (
        "train.batch_size: expected at least 64 training examples, .* 4 workers .*received 63; "
        "lower train.batch_size or train.workers"
    )
    with pytest.raises(InputError, match=words):
        Plan.of(TrainConfig(epochs=1, batch_size=64, workers=4), 63)
    # No step is taken, so that no batch is wanted.
    assert Plan.of(TrainConfig(epochs=0, batch_size=64), 63).total_steps == 0


@pytest.mark.parametrize(
    ("levels", "weights"),
    [(0, [1.0]), (1, [0.5, 1.0]), (2, [0.25, 0.5, 1.0]), (3, [0.25, 0.25, 0.5, 1.0])],
)
def test_every_level_has_its_weight(levels, weights):
    config = TrainConfig(product_weight=1.0, leaf_weight=0.5, ancestor_weight=0.25)
    assert level_weights(config, levels) == weights
