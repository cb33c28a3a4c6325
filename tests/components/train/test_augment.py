import time

import numpy as np
import pytest
import tensorflow as tf

from components.train.augment import (
    _Draws,
    _Numbers,
    _numbers,
    _scene,
    _shadow,
    make_augment,
    matte,
    on_white,
)
from components.train.augment_config import Augmentation
from components.train.backgrounds import procedural_textures
from tests.components.train.conftest import draw

STILL = Augmentation(
    white_share=0.0, scale=(0.85, 0.85), rotation=0.0, shift=0.0, shear=0.0, stretch=0.0,
    white_balance=0.0, exposure=0.0, saturation=0.0, contrast=0.0, noise=0.0, blur=0.0, textures=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def batch():
    drawn = [draw(number, 0) for number in range(6)]
    return np.stack([image for image, _ in drawn]), np.stack([mask for _, mask in drawn])


def seeds(step):
    return tf.constant([3, step], tf.int64)


def test_textures_follow_their_seed():
    first, same, other = (procedural_textures(count=20, size=24, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (20, 24, 24, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)


def test_the_cut_out_keeps_the_product_and_drops_the_white(batch):
    images, masks = batch
    cut = matte(tf.constant(images), tf.constant(masks)).numpy()
    np.testing.assert_array_equal(cut[masks == 255], 0)
    inside = masks == 0
    np.testing.assert_array_equal(cut[inside][:, 3], 255)
    np.testing.assert_allclose(cut[inside][:, :3], images[inside], atol=1)


def test_an_edge_pixel_half_white_is_half_cut():
    image = np.full((1, 8, 8, 3), 255, np.uint8)
    mask = np.full((1, 8, 8), 255, np.uint8)
    image[0, 2:6, 2:6], mask[0, 2:6, 2:6] = 0, 0
    image[0, 2:6, 6], mask[0, 2:6, 6] = 128, 0
    cut = matte(tf.constant(image), tf.constant(mask)).numpy()[0]
    assert cut[3, 6, 3] == pytest.approx(127, abs=1)
    # What is left is the product's black, not the white that was mixed in.
    assert cut[3, 6, :3].max() <= 1
    np.testing.assert_allclose(on_white(cut[None])[0].numpy().astype(int), image[0], atol=1)


def test_a_cut_out_on_white_is_the_catalog_view(batch):
    images, masks = batch
    cut = matte(tf.constant(images), tf.constant(masks))
    np.testing.assert_allclose(on_white(cut).numpy().astype(int), images, atol=1)


def test_white_does_not_run_over():
    cut = tf.constant([[[[128, 128, 128, 127], [3, 0, 0, 0], [255, 255, 255, 255]]]], tf.uint8)
    np.testing.assert_array_equal(on_white(cut)[0, 0], [[255] * 3] * 3)


def test_the_share_is_the_products_where_nothing_moves(batch):
    _, masks = batch
    cut = matte(*map(tf.constant, batch))
    _, share = make_augment(STILL, input_size=32, seed=1)(cut, seeds(0))
    assert share.dtype == tf.uint8
    for index, mask in enumerate(masks):
        alpha = cut.numpy()[index, ..., 3].astype(int)
        ours = share.numpy()[index, ..., 0].astype(int)
        assert min(abs(ours - alpha).max(), abs(ours - alpha[:, ::-1]).max()) <= 2
        assert (ours > 0).sum() == (mask == 0).sum()


def test_shape_type_and_seed(batch):
    cut = matte(*map(tf.constant, batch))
    augment = make_augment(Augmentation(textures=8), input_size=24, seed=1)
    first, same, other = (augment(cut, seeds(step))[0] for step in (1, 1, 2))
    assert first.shape == (6, 24, 24, 3)
    assert first.dtype == tf.uint8
    np.testing.assert_array_equal(first, same)
    assert np.any(first.numpy() != other.numpy())


def test_only_the_background_changes_when_nothing_else_may(batch):
    images, masks = batch
    cut = matte(*map(tf.constant, batch))
    augment = make_augment(STILL, input_size=32, seed=1)
    changed = np.zeros(masks.shape, bool)
    for step in range(8):
        result = augment(cut, seeds(step))[0].numpy()
        mirrored = result[:, :, ::-1]
        for index in range(len(images)):
            inside = masks[index] == 0
            # Light and vignette scale the product; its flat colour stays flat.
            for candidate in (result[index], mirrored[index]):
                if candidate[inside].std(axis=0).max() < 12:
                    break
            else:
                pytest.fail("the product's pixels changed")
            changed[index] |= np.any(result[index] != 255, axis=-1)
    assert changed[masks == 255].all()


def test_some_images_keep_their_white():
    drawn = [draw(number, 0) for number in range(6)] * 8
    cut = matte(*(tf.constant(np.stack(part)) for part in zip(*drawn, strict=True)))
    plain = Augmentation(white_share=1.0, noise=0.0, textures=8)
    result = make_augment(plain, input_size=32, seed=1)(cut, seeds(0))[0].numpy()
    corners = result[:, 0, 0].astype(int)
    assert corners.min() > 150


def test_one_program_does_for_all_batches(batch):
    # Compiled for each batch anew it would take a hundred times as long, and nobody would see why.
    cut = matte(*map(tf.constant, batch))
    augment = make_augment(Augmentation(textures=5), input_size=20, seed=1)
    spent = []
    for step in range(6):
        began = time.perf_counter()
        augment(cut, seeds(step))
        spent.append(time.perf_counter() - began)
    assert min(spent[1:]) < spent[0] / 5
    assert np.median(spent[1:]) < spent[0] / 3


def drawn(uniform, shared):
    """Draws of which each is the same, for two images and one loop."""
    ones = np.full((1, 8, 2), uniform, np.float32)
    numbers = _Numbers(tf.constant(ones), tf.zeros([1, 4, 2]), tf.fill([1, 4], shared))
    return _Draws(numbers, 0)


def test_a_shadow_lies_beside_its_product():
    alpha = np.zeros((2, 32, 32), np.float32)
    alpha[:, 8:24, 8:24] = 1.0
    light = _shadow(tf.constant(alpha), drawn(0.5, 0.5)).numpy()
    # Half of what it may take, one cell further down, and soft at the edge.
    assert light[0, 18, 16] == pytest.approx(0.7, abs=1e-5)
    assert light[0, 2, 2] == 1.0
    assert light[0, 27, 16] < light[0, 5, 16]
    assert 0.7 < light[0, 16, 7] < 1.0


@pytest.mark.parametrize("size", [30, 33])
def test_a_shadow_needs_no_whole_cells(size):
    alpha = np.ones((2, size, size), np.float32)
    light = _shadow(tf.constant(alpha), drawn(0.5, 0.0)).numpy()
    assert light.shape == (2, size, size)
    # Away from the last cells, which are not whole, and from where they were moved to.
    np.testing.assert_allclose(light[:, :20, :20], 0.7, atol=1e-5)
    assert light.max() < 1.0


def test_a_scene_is_cut_from_the_textures():
    # Each texture has a colour of its own; its pixels count up.
    pixels = np.arange(3 * 12 * 12, dtype=np.uint32).reshape(3, 12, 12)
    scene = _scene(tf.constant(pixels), 8, drawn(0.9, 0.5)).numpy()
    # Of the three textures the last; the corner is in the middle of 0..4.
    np.testing.assert_array_equal(scene[0], pixels[2, 2:10, 2:10])
    np.testing.assert_array_equal(scene[1], scene[0])


def test_a_wall_and_a_floor_are_of_two_textures():
    numbers = _numbers(64, seeds(1))
    pixels = np.repeat(np.arange(5, dtype=np.uint32), 12 * 12).reshape(5, 12, 12)
    scenes = _scene(tf.constant(pixels), 8, _Draws(numbers, 0)).numpy()
    colours = [sorted(set(scene.ravel())) for scene in scenes]
    assert {len(found) for found in colours} == {1, 2}
    # Down a column the wall may end and the floor begin, once.
    for scene in scenes:
        for column in scene.T:
            assert np.count_nonzero(np.diff(column)) <= 1
