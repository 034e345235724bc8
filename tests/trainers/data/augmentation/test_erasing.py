"""Random erasing: how large, what shape, where and with what."""

import numpy as np
import pytest
import tensorflow as tf

from trainers.data.augmentation import recipe
from trainers.settings.augmentation import AugmentationSettings

# A value that the noise never has.
GROUND = 100.0


def many(shape, count, rate=1.0, threads=None):
    """(count, h, w, C): a plain image erased with different seeds."""
    settings, image = AugmentationSettings(erasing=rate), tf.fill(shape, GROUND)
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([tf.constant(7, tf.int64), number]))
    rows = seeds.map(lambda seed: recipe.erase(image, seed, settings), num_parallel_calls=threads)
    assert rows.element_spec.shape == shape
    return np.stack(list(rows.as_numpy_iterator()))


def boxes(results):
    """int (count, 4): top, left, height, width of each image's erased rectangle, checked to be one."""
    rectangles = []
    for erased in (results != GROUND).all(axis=-1):
        rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
        assert erased.sum() == len(rows) * len(columns)
        rectangles.append([rows[0], columns[0], len(rows), len(columns)])
    return np.array(rectangles)


def assert_uniform(values, low, high):
    """Of some hundred values, none outside and about as many in each quarter."""
    assert low <= values.min() and values.max() <= high
    counts, _ = np.histogram(values, 4, (low, high))
    assert abs(counts / len(values) - 0.25).max() < 0.09


def test_areas_aspects_and_places_are_uniform():
    """In an image twice as high as wide, where no tall rectangle is too tall; sides are rounded to whole pixels."""
    shape = (256, 160)
    top, left, height, width = boxes(many((*shape, 1), 500)).T
    areas, aspects = height * width / (256 * 160), np.log(height / width)
    assert_uniform(areas, 0.02 - 0.002, 1 / 3 + 0.002)
    assert_uniform(aspects[areas < 0.1], np.log(0.3) - 0.06, -np.log(0.3) + 0.06)
    for first, extent, whole in ((top, height, 256), (left, width, 160)):
        # Of rectangles that leave little room, whole pixels would show.
        roomy = whole - extent > 60
        assert_uniform((first / (whole - extent))[roomy], 0, 1)
        assert (first + extent <= whole).all() and (first == 0).any() and (first + extent == whole).any()


def test_aspects_are_height_to_width_whatever_the_image():
    _, _, height, width = boxes(many((200, 200, 1), 200)).T
    assert 0.28 < (height / width).min() < 0.4 and 2.5 < (height / width).max() < 3.6


def test_the_noise_is_normal_in_every_pixel_and_channel():
    results = many((40, 40, 3), 100)
    noise = results[(results != GROUND).all(axis=-1)]
    assert np.allclose(noise.mean(axis=0), 0, atol=0.05) and np.allclose(noise.std(axis=0), 1, atol=0.05)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.05
    assert len(np.unique(noise)) > 0.9 * noise.size


@pytest.mark.parametrize("rate", [0.25, 0.8])
def test_so_many_images_are_erased(rate):
    erased = (many((12, 12, 1), 600, rate) != GROUND).any(axis=(1, 2, 3))
    assert abs(erased.mean() - rate) < 0.06


def test_of_ten_tries_the_first_that_fits_counts():
    """Of an image 16 high and 200 wide, most rectangles are too high; with ten tries nearly all images have one."""
    results = many((16, 200, 1), 200)
    erased = (results != GROUND).any(axis=(1, 2, 3))
    assert erased.mean() > 0.9
    assert boxes(results[erased])[:, 2].max() < 16


def test_where_nothing_fits_nothing_is_erased():
    assert (many((2, 200, 3), 50) == GROUND).all()


def test_without_the_setting_the_image_itself_comes_back():
    image = tf.zeros((4, 4, 3))
    assert recipe.erase(image, tf.constant([1, 2]), AugmentationSettings()) is image


def test_the_seed_alone_decides():
    once, again = (many((20, 30, 3), 40, 0.5, threads) for threads in (1, 8))
    assert np.array_equal(once, again)
    assert 10 < len(np.unique(once.reshape(40, -1), axis=0)) < 40
