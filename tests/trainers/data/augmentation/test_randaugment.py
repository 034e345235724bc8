"""Which operations RandAugment draws, and that nothing but the seed decides."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data.augmentation import randaugment
from trainers.settings.augmentation import AugmentationSettings

# In the published code's order.
TABLE = [
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Cutout",
    "SolarizeAdd",
]


def described(layers, magnitude=10, quirks=True):
    return AugmentationSettings(randaugment_layers=layers, randaugment_magnitude=magnitude, randaugment_quirks=quirks)


def noise(shape=(24, 20, 3)):
    return tf.random.stateless_uniform(shape, (1, 2), 0.0, 255.0)


def many(image, chosen, count=40):
    """(count, h, w, C) results for the seeds (5, 0), (5, 1) and so on."""
    rows = tf.data.Dataset.range(count).map(traced(image, chosen))
    assert rows.element_spec == tf.TensorSpec(image.shape, tf.float32)
    return np.stack(list(rows.as_numpy_iterator()))


def traced(image, chosen):
    """From the second half of a seed to the result."""
    five = tf.constant(5, tf.int64)
    distort = lambda number: randaugment.distort(image, tf.stack([five, number]), chosen)  # noqa: E731
    return tf.function(distort, [tf.TensorSpec((), tf.int64)], autograph=False)


def test_the_operations_and_their_order():
    assert list(randaugment.OPERATIONS) == TABLE


def test_without_layers_the_image_itself():
    image = noise()
    assert randaugment.distort(image, tf.constant([1, 2], tf.int64), described(0)) is image


@pytest.fixture
def numbers(monkeypatch):
    """Instead of doing anything, operations count: 16 times what was there plus their number."""
    stubs = {
        name: lambda image, seed, magnitude, quirks, number=number: image * 16 + number
        for number, name in enumerate(TABLE)
    }
    monkeypatch.setattr(randaugment, "OPERATIONS", stubs)


def test_layers_draw_equally_often_and_independently(numbers):
    counts = np.bincount(many(tf.zeros((1, 1, 1)), described(2), 3840).ravel().astype(int), minlength=256)
    # 15 of each pair.
    assert len(counts) == 256 and counts.min() > 1 and counts.max() < 35
    for axis in (0, 1):  # 240 each, within 4.5 standard deviations
        assert np.abs(counts.reshape(16, 16).sum(axis) - 240).max() < 68
    three = many(tf.zeros((1, 1, 1)), described(3), 200).astype(int) % 256
    assert len(np.unique(three)) > 100


def test_an_operations_own_draws_do_not_depend_on_which_it_is(monkeypatch):
    stubs = {
        name: lambda image, seed, magnitude, quirks, number=number: (
            image + tf.cast(2 * number + tf.random.stateless_uniform((), seed, 0, 2, tf.int32), tf.uint8)
        )
        for number, name in enumerate(TABLE)
    }
    monkeypatch.setattr(randaugment, "OPERATIONS", stubs)
    counts = np.bincount(many(tf.zeros((1, 1, 1)), described(1), 3200).ravel().astype(int))
    assert len(counts) == 32 and counts.min() > 55 and counts.max() < 145


def test_settings_reach_the_operations(monkeypatch):
    stub = lambda image, seed, magnitude, quirks: image + magnitude + 100 * quirks  # noqa: E731
    monkeypatch.setattr(randaugment, "OPERATIONS", {"Stub": stub})
    for magnitude, quirks, expected in ((10, True, 110), (15, False, 15)):
        result = randaugment.distort(
            tf.zeros((2, 2, 1)), tf.constant([1, 2], tf.int64), described(1, magnitude, quirks)
        )
        assert (result.numpy() == expected).all()


def test_fractions_go_and_values_are_clipped(monkeypatch):
    monkeypatch.setattr(randaugment, "OPERATIONS", {"Nothing": lambda image, *rest: image})
    image = tf.reshape([-3.7, 0.9, 128.99, 254.5, 255.2, 300.0], (2, 3, 1))
    result = randaugment.distort(image, tf.constant([1, 2], tf.int64), described(1))
    assert result.numpy().ravel().tolist() == [0, 0, 128, 254, 255, 255]


@pytest.mark.parametrize("quirks", [True, False])
def test_the_seed_alone_decides(quirks):
    image, chosen = noise(), described(2, quirks=quirks)
    row = traced(image, chosen)
    one = np.stack([row(tf.constant(number, tf.int64)) for number in range(120)])
    eight = tf.data.Dataset.range(120).map(row, num_parallel_calls=8)
    assert np.array_equal(one, list(eight.as_numpy_iterator()))
    eager, other = (
        [randaugment.distort(image, tf.constant([first, number], tf.int64), chosen) for number in range(10)]
        for first in (5, 6)
    )
    assert np.array_equal(one[:10], eager)
    assert len(np.unique(one, axis=0)) > 50
    assert not np.array_equal(eager, other)


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3])),
    layers=st.integers(1, 4),
    magnitude=st.integers(0, 30),
    quirks=st.booleans(),
    number=st.integers(0, 2**40),
)
def test_any_image_stays_an_image(shape, layers, magnitude, quirks, number):
    seed = tf.constant([number, 3], tf.int64)
    result, again = (randaugment.distort(noise(shape), seed, described(layers, magnitude, quirks)) for _ in range(2))
    assert result.shape == shape and result.dtype == tf.float32
    assert np.array_equal(result, np.clip(np.rint(result), 0, 255)) and np.array_equal(result, again)
