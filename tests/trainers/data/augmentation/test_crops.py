"""Training crops: what they keep, what they leave to chance, and that the seed alone decides."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_vit import Preprocessing
from keras_vit.images import transform
from trainers.data.augmentation.crops import AUGMENTATIONS
from trainers.data.augmentation.recipe import augment
from trainers.settings.augmentation import AugmentationSettings

PLAIN = Preprocessing(size=(16, 24))


def map_of_positions(height, width):
    """Pixels that know where they are: row, column and 1, so that a crop shows its window."""
    y, x = np.mgrid[:height, :width].astype("float32")
    return np.stack([y + 0.5, x + 0.5, np.ones_like(y)], axis=-1)


def many(name, image, count=200, preprocessing=PLAIN, threads=None, **chosen):
    """(count, h, w, 3) results of one row of the table for different seeds."""
    settings = AugmentationSettings(augment=name, **chosen)
    image = tf.constant(image)
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([tf.constant(7, tf.int64), number]))
    rows = seeds.map(
        lambda seed: AUGMENTATIONS[name](image, seed, 3, preprocessing, settings), num_parallel_calls=threads
    )
    return np.stack(list(rows.as_numpy_iterator()))


def windows(results):
    """Top, left, height, width of the windows of a map of positions, by the distances between the pixels' centres."""
    rows, columns = results.shape[1:3]
    step_y = (results[:, -2, columns // 2, 0] - results[:, 1, columns // 2, 0]) / (rows - 3)
    step_x = (results[:, rows // 2, -2, 1] - results[:, rows // 2, 1, 1]) / (columns - 3)
    top = results[:, 1, columns // 2, 0] - 1.5 * step_y
    left = results[:, rows // 2, 1, 1] - 1.5 * step_x
    return np.stack([top, left, rows * step_y, columns * step_x], axis=1)


def test_every_row_takes_encoded_images_and_pixels_of_any_shape():
    def rows(image):
        seed = tf.constant([1, 2], tf.int64)
        chosen = (AugmentationSettings(augment=name, flip=True) for name in AUGMENTATIONS)
        return [augment(image, seed, 3, PLAIN, settings) for settings in chosen]

    graph = tf.function(rows, [tf.TensorSpec((), tf.string)], autograph=False)  # where no shape is known
    for size in [(1, 1), (30, 20), (5, 200)]:
        pixels = tf.constant(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype("uint8"))
        forms = graph(tf.io.encode_png(pixels)), rows(pixels), rows(tf.cast(pixels, tf.float32))
        for name, *results in zip(AUGMENTATIONS, *forms, strict=True):
            assert all(result.shape == (16, 24, 3) and result.dtype == tf.float32 for result in results), name
            assert np.allclose(results[1:], results[0], atol=1e-4), name
            assert -1.01 <= np.min(results) <= np.max(results) <= 1.01, name


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_seed_alone_decides(name):
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3)).astype("uint8")
    once, again = (many(name, image, 12, threads=threads, train_crop=0.5) for threads in (None, 4))
    assert np.array_equal(once, again)
    different = len(np.unique(once.reshape(12, -1), axis=0))
    assert different == 1 if name == "none" else different > 8


def test_none_is_the_test_time_transform():
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype("uint8")
    described = dataclasses.replace(PLAIN, crop=0.875)
    settings = AugmentationSettings(augment="none")
    result = augment(tf.constant(image), tf.constant([1, 2], tf.int64), 3, described, settings)
    assert np.array_equal(result, transform.apply(image, described))


@pytest.mark.parametrize("name", ["none", "inception"])
def test_half_are_mirrored_and_the_crop_stays_the_same(name):
    image = np.random.default_rng(0).integers(0, 256, (30, 20, 3)).astype("uint8")
    mirrored = 0
    both = tf.function(
        lambda seed: [
            augment(tf.constant(image), seed, 3, PLAIN, AugmentationSettings(augment=name, flip=flip))
            for flip in (False, True)
        ]
    )
    for number in range(200):
        plain, flipped = both(tf.constant([3, number], tf.int64))
        is_mirrored = np.allclose(plain[:, ::-1], flipped, atol=1e-5)
        assert is_mirrored or np.allclose(plain, flipped, atol=1e-5)
        mirrored += is_mirrored
    assert 70 <= mirrored <= 130


@pytest.mark.parametrize("crop_area", [0.05, 0.5])
def test_inception_draws_area_and_aspect(crop_area):
    top, left, height, width = windows(many("inception", map_of_positions(200, 160), crop_area=crop_area)).T
    assert (top > -0.5).all() and (left > -0.5).all()
    assert (top + height < 200.5).all() and (left + width < 160.5).all()
    share, aspect = height * width / (200 * 160), width / height
    assert crop_area - 0.01 <= share.min() < crop_area + 0.1 and share.max() > 0.85
    # Windows of whole pixels leave the range a little.
    assert 0.72 <= aspect.min() < 0.8 and 1.2 < aspect.max() <= 1.38


def test_inception_takes_images_too_long_for_a_window_whole():
    top, left, height, width = windows(many("inception", map_of_positions(900, 9), 5)).T
    assert np.allclose([top, left, height, width], [[0] * 5, [0] * 5, [900] * 5, [9] * 5], atol=0.5)


def test_inception_cuts_the_same_from_a_jpeg_and_from_its_pixels():
    encoded = tf.io.encode_jpeg(np.random.default_rng(0).integers(0, 256, (70, 50, 3)).astype("uint8"))
    for number in range(20):
        seed, settings = tf.constant([7, number], tf.int64), AugmentationSettings(augment="inception")
        forms = encoded, tf.io.decode_jpeg(encoded)
        one, other = (AUGMENTATIONS["inception"](form, seed, 3, PLAIN, settings) for form in forms)
        assert np.array_equal(one, other)


def test_small_crop_keeps_the_aspect_and_goes_everywhere():
    """16 x 24 of an image that just covers 32 x 48, as 40 x 100 does with 32 x 80: each pixel is 1.25 wide."""
    boxes = windows(many("small_crop", map_of_positions(40, 100), train_crop=0.5))
    assert np.allclose(boxes[:, 2:], [16 * 1.25, 24 * 1.25], atol=0.01)
    corners = np.unique(np.rint(boxes[:, :2] / 1.25), axis=0)
    assert corners.min(axis=0).tolist() == [0, 0] and corners.max(axis=0).tolist() == [16, 56]
    assert len(np.unique(corners[:, 0])) == 17 and len(np.unique(corners[:, 1])) > 45


def test_resize_crop_does_not_keep_the_aspect():
    boxes = windows(many("resize_crop", map_of_positions(40, 100), train_crop=0.5))
    assert np.allclose(boxes[:, 2:], [16 * 40 / 32, 24 * 100 / 48], atol=0.01)
    corners = np.rint(boxes[:, :2] / [40 / 32, 100 / 48])
    assert corners.min(axis=0).tolist() == [0, 0] and corners.max(axis=0).tolist() == [16, 24]


def test_a_crop_of_everything_is_the_resized_image():
    image = np.random.default_rng(0).integers(0, 256, (50, 75, 3)).astype("uint8")
    expected = tf.image.resize(image, (16, 24))
    for name in ("small_crop", "resize_crop"):
        assert np.allclose(many(name, image, 2, train_crop=1.0), expected[None], atol=1e-3)


def test_pad_crop_moves_the_image_by_up_to_an_eighth():
    square = dataclasses.replace(PLAIN, size=(32, 32))
    results = many("pad_crop", np.full((32, 32, 3), 200, "uint8"), 300, square, crop_padding=0.125)
    lit = results[..., 0] > 0
    assert np.isin(results, [0, 200]).all()
    shifts = set()
    for result in lit:
        rows, columns = np.flatnonzero(result.any(axis=1)), np.flatnonzero(result.any(axis=0))
        assert result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        # Black above moves the image down; black below, up.
        shifts.add((rows[0] - (31 - rows[-1]), columns[0] - (31 - columns[-1])))
    assert {y for y, _ in shifts} == {x for _, x in shifts} == set(range(-4, 5))
    assert len(shifts) > 70


def test_pad_crop_pads_height_and_width_each_by_its_share():
    white = np.full((16, 48, 3), 255, "uint8")
    black = many("pad_crop", white, 100, dataclasses.replace(PLAIN, size=(16, 48)), crop_padding=0.25)[..., 0] == 0
    assert black.all(axis=2).sum(axis=1).max() == 4
    assert black.all(axis=1).sum(axis=1).max() == 12


def test_the_longest_images_need_no_more_memory_than_others():
    """To cover 224 pixels, 30,000 x 20 would be resized to 384,000 x 256."""
    image = np.broadcast_to(map_of_positions(30_000, 1), (30_000, 20, 3))
    large = Preprocessing(size=(224, 224))
    top, _, height, _ = windows(many("small_crop", image, 2, large)).T
    assert np.allclose(height, 224 * 20 / 256, atol=0.05)
    assert (top >= 0).all() and (top + height <= 30_000).all() and top[0] != top[1]
