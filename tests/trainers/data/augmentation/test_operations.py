"""RandAugment's operations on values, against Pillow's and against the published code's rules written in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from trainers.data.augmentation.randaugment import OPERATIONS

EVERY_VALUE = np.arange(256, dtype="uint8").reshape(16, 16, 1)
MAGNITUDES = st.integers(0, 30)
# Blend factors: Cubuk et al.'s from 0.1 to 1.9, over their scale of 10.
FACTORS = {magnitude: 0.1 + 0.18 * magnitude for magnitude in range(31)}


def run(name, image, magnitude=10, quirks=True):
    result = OPERATIONS[name](tf.constant(image), tf.constant([1, 2], tf.int64), magnitude, quirks)
    assert result.shape == image.shape and result.dtype == tf.uint8
    return result.numpy()


@st.composite
def images(draw, smallest=1):
    """uint8 (h, w, C) of few or of many values, one value included."""
    shape = draw(st.tuples(st.integers(smallest, 24), st.integers(smallest, 24), st.sampled_from([1, 3])))
    palette = draw(st.lists(st.integers(0, 255), min_size=1, max_size=6) | st.just(range(256)))
    return np.random.default_rng(draw(st.integers(0, 99))).choice(np.uint8(palette), shape)


def pillow(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def as_array(picture, image):
    return np.asarray(picture).reshape(image.shape)


def blend(degenerate, image, magnitude):
    """In float32, like the published code."""
    degenerate, image = np.float32(degenerate), np.float32(image)
    factor = np.float32(magnitude / 10 * 1.8 + 0.1)
    return np.clip(degenerate + factor * (image - degenerate), 0, 255).astype("uint8")


EXACT = {
    "Equalize": lambda picture, magnitude: ImageOps.equalize(picture),
    "Invert": lambda picture, magnitude: ImageOps.invert(picture),
    "Posterize": lambda picture, magnitude: ImageOps.posterize(picture, min(4 * magnitude // 10, 8)),
    "Solarize": lambda picture, magnitude: ImageOps.solarize(picture, 256 * magnitude // 10),
    "Brightness": lambda picture, magnitude: ImageEnhance.Brightness(picture).enhance(FACTORS[magnitude]),
}


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=60)
@given(image=images(), magnitude=st.integers(3, 30))
def test_mended_operations_equal_pillows(name, image, magnitude):
    """From 3 on, because Pillow does not posterize to 0 bits."""
    expected = as_array(EXACT[name](pillow(image), magnitude), image)
    assert np.array_equal(run(name, image, magnitude, quirks=False), expected)


@pytest.mark.parametrize("skew", [1, 2, 5])
def test_equalize_of_many_pixels_equals_pillows(skew):
    """Steps of several pixels, which are halved in rounding, need more pixels than above."""
    image = (np.random.default_rng(0).random((64, 50, 3)) ** skew * 256).astype("uint8")
    assert np.array_equal(run("Equalize", image), ImageOps.equalize(pillow(image)))


@settings(max_examples=60)
@given(image=images())
def test_auto_contrast_is_pillows_but_for_rounding(image):
    """Pillow computes in float64: what should be a whole number may come out one lower in either."""
    result, expected = run("AutoContrast", image), as_array(ImageOps.autocontrast(pillow(image)), image)
    low, high = image.min((0, 1)), image.max((0, 1))
    exact = (image - low) * 255.0 / np.maximum(high - low, 1)
    whole = np.abs(exact - np.rint(exact)) < 1e-3
    assert np.array_equal(result[~whole], expected[~whole])
    assert (np.abs(result[whole] - expected[whole].astype(int)) <= 1).all()


@pytest.mark.parametrize("enhance", [ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Sharpness])
@settings(max_examples=60)
@given(image=images(smallest=3), magnitude=MAGNITUDES)
def test_enhancements_are_pillows_but_for_rounding(enhance, image, magnitude):
    """Grey and smoothed values may lie 1 apart, because Pillow rounds them to nearest; the blend multiplies that."""
    expected = as_array(enhance(pillow(image)).enhance(FACTORS[magnitude]), image)
    result = run(enhance.__name__, image, magnitude, quirks=False)
    assert (np.abs(result - expected.astype(int)) < abs(1 - FACTORS[magnitude]) + 1).all()


@settings(max_examples=60)
@given(image=images(), magnitude=MAGNITUDES)
def test_enhancements_of_grey_images_equal_pillows(image, magnitude):
    image = image[..., :1]
    contrast = ImageEnhance.Contrast(pillow(image)).enhance(FACTORS[magnitude])
    assert np.array_equal(run("Contrast", image, magnitude, quirks=False), as_array(contrast, image))
    assert np.array_equal(run("Color", image, magnitude), image)


@pytest.mark.parametrize("quirks", [True, False])
def test_color_is_the_published_codes(quirks):
    """The grey of TensorFlow's own conversion differs by 1 in about one color of a million: those on a boundary."""
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype("uint8")
    grey = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(image)).numpy()
    for magnitude in (0, 5, 10, 15, 20):
        different = run("Color", image, magnitude, quirks) != blend(grey, image, magnitude)
        assert different.mean() < 1e-3


@settings(max_examples=60)
@given(image=images(), magnitude=MAGNITUDES, quirks=st.booleans())
def test_sharpness_keeps_its_border(image, magnitude, quirks):
    height, width, _ = image.shape
    smooth = image.copy()
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            window = image[y - 1 : y + 2, x - 1 : x + 2].astype(int)
            smooth[y, x] = (window.sum((0, 1)) + 4 * window[1, 1]) // 13
    assert np.array_equal(run("Sharpness", image, magnitude, quirks), blend(smooth, image, magnitude))


@settings(max_examples=60)
@given(image=images(), magnitude=MAGNITUDES)
def test_published_contrast_turns_about_the_number_of_pixels(image, magnitude):
    """The sum of the counts of a histogram, over 256."""
    histogram = np.bincount(image[..., 0].ravel(), minlength=256)
    constant = np.clip(histogram.sum() / 256, 0, 255).astype("uint8")
    assert np.array_equal(run("Contrast", image, magnitude), blend(constant, image, magnitude))


@pytest.mark.parametrize("size, constant", [((32, 32), 4), ((224, 224), 196), ((255, 224), 223), ((300, 300), 255)])
def test_published_contrast_constants(size, constant):
    """At magnitude 0 the image counts a tenth."""
    assert (run("Contrast", np.zeros((*size, 3), "uint8"), 0) == int(constant * 0.9)).all()


def test_blend_factors():
    """Of 51: 0.1, 1, 1.9, 2.8 and 3.7 times, without the fraction; then clipped."""
    image = np.full((3, 3, 3), 51, "uint8")
    levels = [run("Brightness", image, magnitude)[0, 0, 0] for magnitude in (0, 5, 10, 15, 20, 30)]
    assert levels == [5, 51, 96, 142, 188, 255]
    for name in ("Color", "Contrast", "Brightness", "Sharpness"):
        image = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype("uint8")
        for quirks in (True, False):
            assert np.array_equal(run(name, image, 5, quirks), image)
            assert not np.array_equal(run(name, image, 10, quirks), image)


@pytest.mark.parametrize(
    "magnitude, published, mended",
    [(0, 0, 0), (5, 128, 128), (7, 179, 179), (10, 0, 256), (15, 128, 384), (20, 0, 512), (25, 128, 640)],
)
def test_solarize_thresholds(magnitude, published, mended):
    values = EVERY_VALUE.astype(int)
    for quirks, threshold in ((True, published), (False, mended)):
        expected = np.where(values < threshold, values, 255 - values)
        assert np.array_equal(run("Solarize", EVERY_VALUE, magnitude, quirks), expected)


@pytest.mark.parametrize(
    "magnitude, published, mended", [(0, 1, 0), (3, 1, 1), (5, 2, 2), (10, 4, 4), (15, 6, 6), (20, 8, 8), (25, 1, 8)]
)
def test_posterize_bits(magnitude, published, mended):
    for quirks, bits in ((True, published), (False, mended)):
        expected = EVERY_VALUE.astype(int) // 2 ** (8 - bits) * 2 ** (8 - bits)
        assert np.array_equal(run("Posterize", EVERY_VALUE, magnitude, quirks), expected)


@pytest.mark.parametrize("magnitude, added", [(0, 0), (5, 55), (10, 110), (15, 165), (20, 220), (23, 252), (30, 330)])
def test_solarize_add_brightens_dark_values(magnitude, added):
    values = EVERY_VALUE.astype(int)
    expected = np.where(values < 128, np.minimum(values + added, 255), values)
    for quirks in (True, False):
        assert np.array_equal(run("SolarizeAdd", EVERY_VALUE, magnitude, quirks), expected)


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Invert"])
def test_three_operations_have_no_magnitude(name):
    image = np.random.default_rng(0).integers(20, 200, (30, 30, 3)).astype("uint8")
    results = [run(name, image, magnitude, quirks) for magnitude in (0, 10, 30) for quirks in (True, False)]
    assert all(np.array_equal(result, results[0]) for result in results)
    assert not np.array_equal(results[0], image)


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Sharpness"])
def test_images_of_one_color_stay(name):
    image = np.tile(np.uint8([7, 100, 255]), (40, 40, 1))
    for magnitude in (0, 10, 20):
        assert np.array_equal(run(name, image, magnitude), image)
