"""RandAugment's operations on places: both ways, by the published amounts, as Pillow moves them."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trainers.data.augmentation import geometry
from trainers.data.augmentation.randaugment import OPERATIONS

TWO_WAYS = ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"]
SHAPES = st.tuples(st.integers(2, 40), st.integers(2, 40), st.sampled_from([1, 3]))


def noise(shape):
    """Without the fill value."""
    image = np.random.default_rng(0).integers(0, 255, shape).astype("uint8")
    return image + (image >= 128)


def run(name, image, magnitude, quirks=True, number=1):
    result = OPERATIONS[name](tf.constant(image), tf.constant([1, number], tf.int64), magnitude, quirks)
    assert result.shape == image.shape and result.dtype == tf.uint8
    return result.numpy()


def many(name, image, magnitude, quirks=True, count=200):
    """(count, h, w, C) results for different seeds."""
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([tf.constant(7, tf.int64), number]))
    rows = seeds.map(lambda seed: OPERATIONS[name](tf.constant(image), seed, magnitude, quirks))
    assert rows.element_spec.shape == image.shape
    return np.stack(list(rows.as_numpy_iterator()))


def both_ways(name, image, magnitude, quirks=True):
    """The two results there are."""
    results = {result.tobytes(): result for result in many(name, image, magnitude, quirks, 12)}
    assert len(results) == 2
    return list(results.values())


def warped(image, matrix):
    """By Pillow, and which pixels come from so close to the border of two that rounding decides.

    Args:
        image: uint8 (h, w, C).
        matrix: (a, b, c, d, e, f): pixel (x, y), as a place on the plane, comes from (a x + b y + c, d x + e y + f).
    """
    height, width, channels = image.shape
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    fill = 128 if channels == 1 else (128,) * 3
    moved = picture.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=fill)
    y, x = np.mgrid[:height, :width] + 0.5
    a, b, c, d, e, f = matrix
    places = np.stack([a * x + b * y + c, d * x + e * y + f])
    return np.asarray(moved).reshape(image.shape), (np.abs(places - np.rint(places)) < 1e-2).any(axis=0)


def rotation(image, degrees):
    height, width, _ = image.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


MATRICES = {
    "Rotate": lambda image, amount: rotation(image, amount),
    "ShearX": lambda image, amount: (1, amount, -amount / 2, 0, 1, 0),
    "ShearY": lambda image, amount: (1, 0, 0, amount, 1, -amount / 2),
    "TranslateX": lambda image, amount: (1, 0, amount, 0, 1, 0),
    "TranslateY": lambda image, amount: (1, 0, 0, 0, 1, amount),
}
AMOUNTS = {
    "Rotate": {10: 30, 15: 45, 20: 60},
    "ShearX": {10: 0.3, 15: 0.45, 20: 0.6},
    "ShearY": {10: 0.3, 15: 0.45, 20: 0.6},
    "TranslateX": {10: 100, 15: 150, 20: 200},
    "TranslateY": {10: 100, 15: 150, 20: 200},
}


def agree(result, image, name, amount):
    """Whether a result is Pillow's, where rounding does not decide; a translation has no such places."""
    expected, undecided = warped(image, MATRICES[name](image, amount))
    if name.startswith("Translate"):
        undecided[:] = False
    return np.array_equal(result[~undecided], expected[~undecided])


@pytest.mark.parametrize("name", TWO_WAYS)
@pytest.mark.parametrize("magnitude", [10, 15, 20])
def test_published_amounts_both_ways(name, magnitude):
    image = noise((224, 220, 3))
    results, amount = both_ways(name, image, magnitude), AMOUNTS[name][magnitude]
    assert warped(image, MATRICES[name](image, amount))[1].mean() < 0.2 or name.startswith("Translate")
    for one, other in (results, results[::-1]):
        if agree(one, image, name, amount):
            assert agree(other, image, name, -amount)
            return
    pytest.fail("neither way is Pillow's")


@pytest.mark.parametrize("name", TWO_WAYS)
@settings(max_examples=25)
@given(shape=SHAPES, magnitude=st.integers(1, 30))
def test_images_of_any_shape(name, shape, magnitude):
    image, amount = noise(shape), AMOUNTS[name][10] / 10 * magnitude
    result = run(name, image, magnitude)
    assert any(agree(result, image, name, way * amount) for way in (1, -1))


@pytest.mark.parametrize("name", TWO_WAYS)
def test_either_way_is_as_likely(name):
    ways, counts = np.unique(many(name, noise((12, 16, 3)), 10, quirks=False), axis=0, return_counts=True)
    assert len(ways) == 2 and counts.min() > 70


@pytest.mark.parametrize("name", [*TWO_WAYS, "Cutout"])
def test_magnitude_0_changes_nothing(name):
    image = noise((30, 41, 3))
    for quirks in (True, False):
        assert np.array_equal(run(name, image, 0, quirks), image)


@pytest.mark.parametrize("shape, columns, rows", [((224, 224, 3), 100, 100), ((56, 28, 1), 12, 25), ((8, 8, 3), 4, 4)])
def test_mended_translations_are_in_proportion(shape, columns, rows):
    image = noise(shape)
    for name, pixels in (("TranslateX", columns), ("TranslateY", rows)):
        results = both_ways(name, image, 10, quirks=False)
        assert any(agree(result, image, name, pixels) for result in results)
        assert any(agree(result, image, name, -pixels) for result in results)


def test_published_translations_leave_small_images():
    for name in ("TranslateX", "TranslateY"):
        assert (run(name, noise((32, 32, 3)), 10) == 128).all()


def squares(results, image):
    """Top, bottom, left and right, the second and last outside, of what is hidden; all else is as it was."""
    bounds = []
    for result in results:
        hidden = (result == 128).all(axis=-1)
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert np.array_equal(result[~hidden], image[~hidden])
        bounds.append((rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
    return np.array(bounds).T


@pytest.mark.parametrize(
    "size, magnitude, quirks, side",
    [
        ((224, 224), 10, True, 80),
        ((224, 224), 15, True, 120),
        ((224, 224), 20, True, 160),
        ((224, 224), 10, False, 80),
        ((300, 400), 10, True, 80),
        ((28, 400), 10, False, 10),
        ((400, 56), 10, False, 20),
    ],
)
def test_cutout_hides_a_square(size, magnitude, quirks, side):
    image = noise((*size, 1))
    top, bottom, left, right = squares(many("Cutout", image, magnitude, quirks, 60), image)
    for first, last, length in ((top, bottom, size[0]), (left, right, size[1])):
        whole = (first > 0) & (last < length)
        assert (last - first <= side).all() and (last - first >= min(side // 2, length)).all()
        assert (last - first)[whole].tolist() == [side] * whole.sum()
    assert ((bottom - top == side) | (right - left == side)).any()


def test_cutouts_centre_is_anywhere():
    """Squares of 2 x 2 end just below and right of their centre."""
    image = noise((56, 63, 1))
    _, bottom, _, right = squares(many("Cutout", image, 1, quirks=False, count=1000), image)
    for centres, length in ((bottom - 1, 56), (right - 1, 63)):
        counts = np.bincount(centres, minlength=length)
        assert len(counts) == length and (counts > 0).all() and counts.max() < 45
    assert abs(np.corrcoef(bottom, right)[0, 1]) < 0.15


def test_published_cutout_hides_small_images():
    assert (run("Cutout", noise((32, 32, 3)), 10) == 128).all()


def test_paste_replaces_a_part():
    image, part = np.zeros((4, 5, 1), "uint8"), np.ones((2, 3, 1), "uint8")
    expected = image.copy()
    expected[1:3, 2:5] = 1
    assert np.array_equal(geometry.paste(part, tf.constant(image), 1, 2), expected)
