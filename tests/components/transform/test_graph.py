import io

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from PIL import Image

from components.transform import graph


def encode(array, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def decode(array, size):
    return graph.decode(tf.constant(encode(array)), size=size).numpy()


def test_an_image_of_the_right_size_is_not_touched():
    image = noise(32, 32)
    assert (decode(image, 32) == image).all()


@pytest.mark.parametrize("side", [64, 200, 96, 20])
def test_resizing_is_that_of_pillow(side):
    """Pillow's bilinear filter is the anti-aliased one; its fixed-point sums round a little off."""
    image = scipy.ndimage.gaussian_filter(noise(side, side).astype(float), (2, 2, 0))
    image = ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(decode(image, 32).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(16, 32), (32, 16), (9, 32)])
def test_what_is_not_square_gets_white_margins(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    found = decode(image, 32)
    expected = np.full((32, 32, 3), 255, np.uint8)
    top, left = (32 - height) // 2, (32 - width) // 2
    expected[top : top + height, left : left + width] = 0
    assert (found == expected).all()


def test_grey_becomes_three_channels():
    image = noise(16, 16)[:, :, 0]
    assert (decode(image, 16) == image[:, :, None]).all()


def flood(passable):
    """The independent answer: components (by edges) that touch the border."""
    labels, _ = scipy.ndimage.label(passable)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.isin(labels, edge[edge > 0])


@pytest.mark.parametrize("share", [0.4, 0.55, 0.6, 0.65, 0.8])
def test_the_background_is_the_white_that_touches_the_border(share):
    """Random pixels near the percolation threshold make the most winding paths there are."""
    white = np.random.default_rng(3).random((5, 40, 40)) < share
    images = np.where(white[..., None], 255, 100).astype(np.uint8).repeat(3, axis=3)
    # A halo threshold of 255 grows by nothing that is not white already.
    found = graph.background_mask(tf.constant(images), white=250, halo=255).numpy()
    expected = np.stack([flood(mask) for mask in white])
    # White that only touches the background by an edge is background, so both agree exactly.
    assert (found == expected).all()


def test_a_spiral_is_followed_to_its_end():
    passable = np.zeros((40, 40), bool)
    row, column, step_row, step_column = 0, 0, 0, 1
    passable[row, column] = True
    for _ in range(2000):
        ahead_row, ahead_column = row + 2 * step_row, column + 2 * step_column
        inside = 0 <= row + step_row < 40 and 0 <= column + step_column < 40
        beyond = 0 <= ahead_row < 40 and 0 <= ahead_column < 40
        if not inside or (beyond and passable[ahead_row, ahead_column]):
            step_row, step_column = step_column, -step_row
            if passable[row + step_row, column + step_column] or (
                0 <= row + 2 * step_row < 40
                and 0 <= column + 2 * step_column < 40
                and passable[row + 2 * step_row, column + 2 * step_column]
            ):
                break
            continue
        row, column = row + step_row, column + step_column
        passable[row, column] = True
    assert passable.sum() > 500
    passable[:, 0] &= np.arange(40) == 0
    image = np.where(passable[None, ..., None], 255, 0).astype(np.uint8).repeat(3, axis=3)
    found = graph.background_mask(tf.constant(image), white=250, halo=255).numpy()[0]
    assert (found == flood(passable)).all()


def test_white_inside_the_product_is_product():
    image = np.full((1, 20, 20, 3), 255, np.uint8)
    image[0, 5:15, 5:15] = 0
    image[0, 8:12, 8:12] = 255
    found = graph.background_mask(tf.constant(image), white=250, halo=214).numpy()[0]
    assert not found[5:15, 5:15].any()
    assert found.sum() == 400 - 100


def test_the_halo_grows_by_one_pixel_and_only_over_light_ones():
    image = np.full((1, 20, 20, 3), 255, np.uint8)
    image[0, 4:16, 4:16] = 230
    image[0, 6:14, 6:14] = 0
    found = graph.background_mask(tf.constant(image), white=250, halo=214).numpy()[0]
    assert found[4, 10]
    assert not found[5, 10]
    # By edges, not by corners.
    assert not found[5, 5]
    strict = graph.background_mask(tf.constant(image), white=250, halo=231).numpy()[0]
    assert not strict[4, 10]


def test_all_channels_must_be_white():
    image = np.full((1, 16, 16, 3), 255, np.uint8)
    image[..., 2] = 200
    assert not graph.background_mask(tf.constant(image), white=250, halo=214).numpy().any()


def test_the_noise_of_jpeg_around_a_product_is_background():
    image = np.full((72, 72, 3), 255, np.uint8)
    image[20:52, 20:52] = (200, 30, 40)
    data = encode(image, "JPEG", quality=85)
    stored = graph.decode(tf.constant(data), size=72)
    found = graph.background_mask(stored[tf.newaxis], white=248, halo=214).numpy()[0]
    outside = np.ones((72, 72), bool)
    outside[18:54, 18:54] = False
    assert found[outside].mean() > 0.98
    assert not found[22:50, 22:50].any()
