import pytest

from components.contracts.errors import InputError
from components.contracts.images import ImageLimits
from components.transform.config import TransformConfig


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unseen_fraction", 1.0),
        ("unseen_fraction", -0.1),
        ("max_reject_share", 1.1),
        ("background_white", 256),
        ("halo_white", -1),
        ("examples_per_shard", 0),
        ("min_train_shards", 0),
        ("batch_size", 0),
        ("workers", -1),
        ("stored_size", 15),
        ("stored_size", 2000),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"transform\.{name}: expected .*, received {value}"):
        TransformConfig(**{name: value})


def test_image_limits():
    config = TransformConfig(max_image_bytes=1, max_image_pixels=2, min_image_side=3)
    assert config.image_limits == ImageLimits(1, 2, 3)
