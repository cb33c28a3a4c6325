import numpy as np
import pytest
import tensorflow as tf

from components.train.packed import apart, binomial, channel, pack, places, sampled


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(5).integers(0, 256, (3, 9, 12, 4), dtype=np.uint8)


def bytes_of(packed):
    return tf.bitcast(packed, tf.uint8).numpy()


def affine(*numbers):
    return tf.constant(np.tile(np.array(numbers, np.float32)[:, None], (1, 3)))


def warped(images, transform, size):
    height, width = images.shape[1:3]
    return sampled(images, *places(transform, height=height, width=width, size=size))


def interpolated(images, numbers, size):
    """The definition, in float64: bilinear between pixels, nothing outside."""
    a0, a1, a2, b0, b1, b2 = numbers
    room = 50
    padded = np.pad(images.astype(float), [(0, 0), (room, room), (room, room), (0, 0)])
    result = np.zeros((len(images), size, size, 4))
    for y in range(size):
        for x in range(size):
            column, row = a0 * x + a1 * y + a2, b0 * x + b1 * y + b2
            left, top = int(np.floor(column)), int(np.floor(row))
            for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(row - top - dy)) * (1 - abs(column - left - dx))
                result[:, y, x] += weight * padded[:, room + top + dy, room + left + dx]
    return result


def test_a_channel_is_a_byte(images):
    packed = tf.bitcast(images, tf.uint32)
    for number in range(4):
        np.testing.assert_array_equal(channel(packed, number), images[..., number])


def test_packed_channels_are_rounded_and_cut_off():
    planes = [np.array([[-3.0, 0.4, 0.6, 254.4, 300.0]], np.float32) + shift for shift in (0, 10)]
    found = bytes_of(pack(planes))
    np.testing.assert_array_equal(found[0, :, 0], [0, 0, 1, 254, 255])
    np.testing.assert_array_equal(found[0, :, 1], [7, 10, 11, 255, 255])
    np.testing.assert_array_equal(found[..., 2:], 0)


def test_packing_undoes_the_taking_out(images):
    packed = tf.bitcast(images, tf.uint32)
    again = pack([channel(packed, number) for number in range(4)])
    np.testing.assert_array_equal(bytes_of(again), images)


def test_three_channels_and_the_fourth_come_apart(images):
    colours, share = apart(tf.bitcast(images, tf.uint32))
    np.testing.assert_array_equal(colours, images[..., :3])
    np.testing.assert_array_equal(share, images[..., 3:])


def test_neighbours_are_weighed_one_two_one(images):
    padded = np.pad(images.astype(int), [(0, 0), (1, 1), (1, 1), (0, 0)])
    height, width = images.shape[1:3]
    expected = sum(
        down * right * padded[:, y : y + height, x : x + width]
        for y, down in enumerate((1, 2, 1))
        for x, right in enumerate((1, 2, 1))
    )
    for number, plane in enumerate(binomial(tf.bitcast(images, tf.uint32))):
        np.testing.assert_array_equal(plane, expected[..., number])


def test_neighbours_of_white_do_not_run_into_each_other():
    white = tf.fill([1, 3, 3], tf.constant(0xFFFFFFFF, tf.uint32))
    for plane in binomial(white):
        assert plane[0, 1, 1] == 16 * 255


def test_nothing_moves_without_a_map(images):
    square = images[:, :, :9]
    np.testing.assert_array_equal(bytes_of(warped(square, affine(1, 0, 0, 0, 1, 0), 9)), square)


@pytest.mark.parametrize(
    "numbers",
    [
        (1.0, 0.0, 0.43, 0.0, 1.0, 0.27),
        (0.7, 0.3, -1.3, -0.2, 0.9, 0.4),
        (-1.1, 0.1, 10.2, 0.0, 1.2, -0.7),
        (2.5, 0.0, -6.0, 0.5, 2.5, -7.5),
    ],
)
def test_an_affine_map_is_bilinear_and_finds_nothing_outside(images, numbers):
    found = bytes_of(warped(images, affine(*numbers), 10)).astype(float)
    np.testing.assert_allclose(found, interpolated(images, numbers, 10), atol=2)
    assert abs(np.mean(found - interpolated(images, numbers, 10))) < 0.2


def test_each_image_has_its_own_map(images):
    maps = np.tile(np.array([1, 0, 0, 0, 1, 0], np.float32)[:, None], (1, 3))
    maps[2] = 0, 1, -1
    found = bytes_of(warped(images, tf.constant(maps), 9))
    np.testing.assert_array_equal(found[0], images[0, :, :9])
    np.testing.assert_array_equal(found[1], images[1, :, 1:10])
    np.testing.assert_array_equal(found[2, :, 1:], images[2, :, :8])
    assert not found[2, :, 0].any()


def test_what_lies_far_outside_is_nothing(images):
    for far in (1e4, -1e4):
        assert not bytes_of(warped(images, affine(1, 0, far, 0, 1, far), 4)).any()
