"""Colour jitter against PIL and colorsys, and what it leaves to chance."""

import collections
import colorsys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from trainers.data.augmentation import color_jitter
from trainers.settings.augmentation import AugmentationSettings

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 30, 3)).astype("uint8")
# Two halves, both coloured and neither near black or white: jittered by up to 0.4, nothing is clipped.
MILD = np.stack([np.full((4, 4), level, "float32") for level in (80, 100, 90)], axis=-1)
MILD[2:] += 20


def many(image, count, threads=None, **chosen):
    """(count, h, w, C): an image jittered with different seeds."""
    settings, image = AugmentationSettings(**chosen), tf.constant(image, tf.float32)
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([tf.constant(7, tf.int64), number]))
    rows = seeds.map(lambda seed: color_jitter.jitter(image, seed, settings), num_parallel_calls=threads)
    return np.stack(list(rows.as_numpy_iterator()))


def assert_uniform(values, low, high):
    """Of some hundred values, none outside and about as many in each quarter."""
    assert low <= values.min() and values.max() <= high
    counts, _ = np.histogram(values, 4, (low, high))
    assert abs(counts / len(values) - 0.25).max() < 0.09


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.8, 1.0, 1.4, 2.0])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (color_jitter.brightness, ImageEnhance.Brightness),
        (color_jitter.contrast, ImageEnhance.Contrast),
        (color_jitter.saturation, ImageEnhance.Color),
    ],
)
def test_each_blend_is_that_of_pil(ours, theirs, factor):
    """PIL cuts off fractions, and rounds the grey that it mixes in: 1 and |1 - factor| / 2 of 255."""
    expected = np.asarray(theirs(Image.fromarray(PIXELS)).enhance(factor)).astype("float32")
    blended = ours(tf.constant(PIXELS, tf.float32), factor - 1.0).numpy()
    assert np.abs(blended - expected).max() <= 1.02 + abs(1 - factor) / 2


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.03, 0.3])
def test_hue_is_turned_as_in_colorsys(turn):
    pixels = color_jitter.hue(tf.constant(PIXELS, tf.float32), turn).numpy().reshape(-1, 3)
    for pixel, turned in zip(PIXELS.reshape(-1, 3) / 255, pixels, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        assert np.allclose(turned, 255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)), atol=0.01)


def test_factors_are_uniform_and_independent():
    """Brightness changes the mean grey; contrast, after it, its spread; saturation, after both, colours' distances."""
    results = many(MILD, 500, color_jitter=0.4)
    grey = results @ np.float32([0.299, 0.587, 0.114])
    spread, before = grey[:, 2:].mean(axis=(1, 2)) - grey[:, :2].mean(axis=(1, 2)), 20
    brightness = grey.mean(axis=(1, 2)) / (MILD @ np.float32([0.299, 0.587, 0.114])).mean()
    contrast = spread / before / brightness
    saturation = (results[..., 1] - results[..., 0]).mean(axis=(1, 2)) / 20 / brightness / contrast
    factors = np.stack([brightness, contrast, saturation])
    for values in factors:
        assert_uniform(values, 0.6 - 1e-4, 1.4 + 1e-4)
    assert np.abs(np.corrcoef(factors) - np.eye(3)).max() < 0.15


def test_hue_turns_are_uniform():
    red = many(np.full((1, 1, 3), [200, 50, 50], "float32"), 400, hue_jitter=0.1)[:, 0, 0] / 255
    turns = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in red])
    assert_uniform((turns + 0.5) % 1 - 0.5, -0.1 - 1e-4, 0.1 + 1e-4)


@pytest.mark.parametrize(("hue", "orders"), [(0.0, 6), (0.1, 24)])
def test_every_order_is_as_likely(monkeypatch, hue, orders):
    """Each step appends a digit of its own to every value."""
    for digit, name in enumerate(["brightness", "contrast", "saturation", "hue"], 1):
        monkeypatch.setattr(color_jitter, name, lambda image, amount, digit=digit: image * 10 + digit)
    values = many(np.zeros((1, 1, 3)), 30 * orders, color_jitter=0.4, hue_jitter=hue)[:, 0, 0, 0]
    counts = collections.Counter(values.astype(int).tolist())
    assert len(counts) == orders and {len(set(str(order))) for order in counts} == {4 if hue else 3}
    assert min(counts.values()) >= 10 and max(counts.values()) <= 55


@pytest.mark.parametrize("chosen", [{"color_jitter": 0.4}, {"color_jitter": 0.4, "hue_jitter": 0.1}])
def test_one_channel_has_neither_saturation_nor_hue(chosen):
    image = np.random.default_rng(0).uniform(80, 120, (4, 4, 1)).astype("float32")
    results = many(image, 200, **chosen)
    assert results.shape == (200, 4, 4, 1)
    factors = results.mean(axis=(1, 2, 3)) / image.mean()
    assert_uniform(factors, 0.6 - 1e-4, 1.4 + 1e-4)
    deviations = results.std(axis=(1, 2, 3)) / image.std() / factors
    assert_uniform(deviations, 0.6 - 1e-4, 1.4 + 1e-4)


def test_without_the_settings_the_image_itself_comes_back():
    image, grey = tf.zeros((2, 2, 3)), tf.zeros((2, 2, 1))
    assert color_jitter.jitter(image, tf.constant([1, 2]), AugmentationSettings()) is image
    assert color_jitter.jitter(grey, tf.constant([1, 2]), AugmentationSettings(hue_jitter=0.5)) is grey


def test_the_seed_alone_decides_and_values_stay_in_range():
    once, again = (many(PIXELS, 40, threads, color_jitter=1.0, hue_jitter=0.5) for threads in (1, 8))
    assert np.array_equal(once, again)
    assert len(np.unique(once.reshape(40, -1), axis=0)) == 40
    assert once.min() >= 0 and once.max() <= 255
