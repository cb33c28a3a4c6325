import keras
import numpy as np
import pytest
import tensorflow as tf

from components.train.normalization import SyncBatchNormalization
from components.train.resnet import BlurPool, build_resnet


def build(depth=18, seed=0, precision="float32", **options):
    return build_resnet(
        **options,
        depth=depth,
        width=4,
        embedding_dim=16,
        channel_mean=(200.0, 200.0, 200.0),
        channel_std=(50.0, 50.0, 50.0),
        precision=precision,
        seed=seed,
    )


# 3x3 convolutions in the blocks, and the stem; a bottleneck has one 3x3 and two 1x1.
@pytest.mark.parametrize(("depth", "convolutions"), [(10, 9), (18, 17), (34, 33), (50, 49)])
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


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(6, 4), (6, 5, 3, 4)])
def test_normalisation_and_its_gradients_are_those_of_keras(shape, training, trainable):
    rng = np.random.default_rng(0)
    values, told = (tf.constant(rng.normal(3.0, 2.0, shape).astype(np.float32)) for _ in range(2))
    weights = [rng.uniform(0.5, 1.5, 4).astype(np.float32) for _ in range(4)]
    results = []
    for kind in (keras.layers.BatchNormalization, SyncBatchNormalization):
        layer = kind(momentum=0.9, epsilon=1e-5, trainable=trainable)
        layer.build(shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(values)
            outputs = layer(values, training=training)
        asked = [values, layer.gamma.value, layer.beta.value]
        gradients = tape.gradient(outputs, asked, output_gradients=told)
        results.append([outputs, *gradients, layer.moving_mean, layer.moving_variance])
    for expected, found in zip(*results, strict=True):
        if expected is None:
            assert found is None
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_normalisation_in_bfloat16_takes_its_moments_in_float32():
    # A mean of 60 beside a deviation of 0.5: its square has no digits left in bfloat16.
    values = np.random.default_rng(0).normal(60.0, 0.5, (16, 4, 4, 2)).astype(np.float32)
    values = tf.cast(values, tf.bfloat16)
    layer = SyncBatchNormalization(momentum=0.0, epsilon=1e-5, dtype="mixed_bfloat16")
    result = layer(values, training=True)
    assert result.dtype == tf.bfloat16
    rounded = tf.cast(values, tf.float32).numpy()
    np.testing.assert_allclose(layer.moving_variance, rounded.var((0, 1, 2)), rtol=1e-2)


def test_normalisation_refuses_a_mask():
    with pytest.raises(NotImplementedError, match="mask"):
        SyncBatchNormalization()(tf.ones([2, 4]), mask=tf.ones([2], tf.bool))


@pytest.mark.parametrize("synchronized", [True, False])
def test_normalisation_sees_the_other_workers_only_where_it_is_to(monkeypatch, synchronized):
    sent = []

    class Context:
        """Another worker whose values are all 9."""

        num_replicas_in_sync = 2

        def all_reduce(self, how, value):
            assert how is tf.distribute.ReduceOp.MEAN
            sent.append(value.numpy())
            return (value + tf.stack([9 * tf.ones(4), 81 * tf.ones(4)])) / 2

    values = np.random.default_rng(0).normal(3.0, 2.0, (8, 5, 5, 4)).astype(np.float32)
    layer = SyncBatchNormalization(momentum=0.0, epsilon=1e-5, synchronized=synchronized)
    layer.build(values.shape)
    monkeypatch.setattr(tf.distribute, "get_replica_context", Context)
    outputs = layer(tf.constant(values), training=True).numpy()
    monkeypatch.undo()
    whole = np.concatenate([values, np.full_like(values, 9.0)]) if synchronized else values
    mean, variance = whole.mean((0, 1, 2)), whole.var((0, 1, 2))
    np.testing.assert_allclose(outputs, (values - mean) / np.sqrt(variance + 1e-5), atol=1e-2)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-3)
    assert len(sent) == int(synchronized)


def test_the_blur_is_the_binomial_filter():
    image = np.random.default_rng(0).normal(size=(1, 6, 6, 2)).astype(np.float32)
    blurred = BlurPool()(tf.constant(image)).numpy()
    line = np.array([0.25, 0.5, 0.25])
    for channel in range(2):
        padded = np.pad(image[0, :, :, channel], 1, mode="symmetric")
        for row in range(3):
            for column in range(3):
                patch = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
                expected = line @ patch @ line
                np.testing.assert_allclose(blurred[0, row, column, channel], expected, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_options_keep_the_names_of_the_other_layers(precision):
    plain = {layer.name for layer in build().layers}
    model = build(precision=precision, squeeze_excite=True, antialias=True)
    more = {layer.name for layer in model.layers}
    assert plain <= more
    assert {"pool1_blur", "conv2_block1_se_reduce", "conv5_block2_se_excite"} <= more - plain
    images = tf.random.stateless_uniform([2, 32, 32, 3], [1, 2], 0, 255)
    np.testing.assert_allclose(np.linalg.norm(model(images), axis=1), 1.0, atol=1e-5)
