import numpy as np
import pytest
import tensorflow as tf

from components.train.normalization import SyncBatchNormalization
from components.train.resnet import build_resnet


def build(depth=18, seed=0, precision="float32"):
    return build_resnet(
        depth=depth,
        width=4,
        embedding_dim=16,
        channel_mean=(200.0, 200.0, 200.0),
        channel_std=(50.0, 50.0, 50.0),
        precision=precision,
        seed=seed,
    )


# 3x3 convolutions in the blocks, and the stem; a bottleneck has one 3x3 and two 1x1.
@pytest.mark.parametrize(("depth", "convolutions"), [(18, 17), (34, 33), (50, 49)])
def test_the_depth_counts_the_layers(depth, convolutions):
    model = build(depth)
    names = [layer.name for layer in model.layers if layer.name.endswith("_conv")]
    assert len([name for name in names if not name.endswith("_0_conv")]) == convolutions
    assert "conv2_block1_1_conv" in names
    assert "conv1_conv" in names


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [32, 40])
def test_embeddings_have_length_one_at_any_size(size, precision):
    images = tf.random.stateless_uniform([3, size, size, 3], [1, 2], 0, 255)
    vectors = build(precision=precision)(images)
    assert vectors.shape == (3, 16)
    assert vectors.dtype == tf.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize(("depth", "last"), [(18, "_2_bn"), (50, "_3_bn")])
def test_each_block_starts_as_its_shortcut(depth, last):
    model = build(depth)
    for layer in model.layers:
        if isinstance(layer, SyncBatchNormalization):
            expected = 0.0 if layer.name.endswith(last) else 1.0
            np.testing.assert_array_equal(layer.gamma.numpy(), expected)


def test_a_seed_fixes_the_weights():
    first, same, other = (build(seed=seed).get_layer("conv1_conv") for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.kernel.numpy(), same.kernel.numpy())
    assert np.abs(first.kernel.numpy() - other.kernel.numpy()).max() > 0


def test_no_two_kernels_start_alike():
    model = build()
    kernels = [layer.kernel.numpy() for layer in model.layers if layer.name.endswith("_1_conv")]
    assert np.abs(kernels[0] - kernels[1]).max() > 0


def test_normalisation_is_that_of_the_batch():
    layer = SyncBatchNormalization(momentum=0.5, epsilon=1e-5)
    values = np.random.default_rng(0).normal(3.0, 2.0, (8, 5, 5, 4)).astype(np.float32)
    result = layer(tf.constant(values), training=True).numpy()
    mean, variance = values.mean((0, 1, 2)), values.var((0, 1, 2))
    np.testing.assert_allclose(result, (values - mean) / np.sqrt(variance + 1e-5), atol=1e-4)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.5 * mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.5 + 0.5 * variance, rtol=1e-4)
