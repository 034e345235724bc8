"""RandAugment's operations that move or hide pixels, for the table in randaugment.py, which says what they take."""

import math
from collections.abc import Sequence

import tensorflow as tf

# The side of the images that distances in pixels were meant for.
REFERENCE_SIDE = 224
# What comes in from outside the image, and what Cutout leaves.
FILL = 128


def rotate(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Turns by 30 degrees, either way, about the centre."""
    height, width, _ = image.shape
    x, y = (width - 1) / 2, (height - 1) / 2
    cos, sin = (f(math.radians(magnitude / 10 * 30)) for f in (math.cos, math.sin))
    return _warp_either_way(
        image, seed, [(cos, -s, x - cos * x + s * y, s, cos, y - s * x - cos * y) for s in (sin, -sin)]
    )


def shear_x(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Moves each row by 0.3 of its number, either way."""
    level = magnitude / 10 * 0.3
    return _warp_either_way(image, seed, [(1, s, 0, 0, 1, 0) for s in (level, -level)])


def shear_y(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Moves each column by 0.3 of its number, either way."""
    level = magnitude / 10 * 0.3
    return _warp_either_way(image, seed, [(1, 0, 0, s, 1, 0) for s in (level, -level)])


def translate_x(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Moves by 100 pixels, either way; without the quirk, of 224 pixels of width."""
    return _move_either_way(image, seed, magnitude / 10 * 100 * _scale(image.shape[1], quirks), axis=1)


def translate_y(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Moves by 100 pixels, either way; without the quirk, of 224 pixels of height."""
    return _move_either_way(image, seed, magnitude / 10 * 100 * _scale(image.shape[0], quirks), axis=0)


def cutout(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Hides a square of twice 40 pixels, its centre anywhere; without the quirk, of 224 pixels of the shorter side."""
    height, width, channels = image.shape
    reach = round(magnitude / 10 * 40 * _scale(min(height, width), quirks))
    centre = tf.cast(tf.random.stateless_uniform((2,), seed) * (height, width), tf.int32)
    top, left = tf.unstack(tf.maximum(centre - reach, 0))
    bottom, right = tf.unstack(tf.minimum(centre + reach, (height, width)))
    square = tf.fill((bottom - top, right - left, channels), tf.constant(FILL, tf.uint8))
    return paste(square, image, top, left)


def paste(part: tf.Tensor, image: tf.Tensor, top: tf.Tensor, left: tf.Tensor):
    """An image with `part` in place of what is there.

    Args:
        part: (a, b, C), any sizes that fit.
        image: (h, w, C) of static shape.
        top: Row of the part's first pixel, int or int32 scalar.
        left: Column of its left edge.

    Returns:
        (h, w, C).
    """
    bottom, right = top + tf.shape(part)[0], left + tf.shape(part)[1]
    middle = tf.concat([image[top:bottom, :left], part, image[top:bottom, right:]], axis=1)
    return tf.ensure_shape(tf.concat([image[:top], middle, image[bottom:]], axis=0), image.shape)


def _warp_either_way(image: tf.Tensor, seed: tf.Tensor, matrices: Sequence[Sequence[float]]):
    """One of two warps at random; (a, b, c, d, e, f): pixel (x, y) comes from (a x + b y + c, d x + e y + f)."""
    way = tf.random.stateless_uniform((), seed, 0, 2, tf.int32)
    matrix = tf.constant([(*matrix, 0, 0) for matrix in matrices], tf.float32)[way]
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=matrix[None],
        output_shape=image.shape[:2],
        fill_value=float(FILL),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    return tf.reshape(warped, image.shape)


def _move_either_way(image: tf.Tensor, seed: tf.Tensor, distance: float, axis: int):
    """Moves by whole pixels, backwards or forwards at random: a window of the image between two borders."""
    pixels = min(round(distance), image.shape[axis])
    shape, start = image.shape.as_list(), [0, 0, 0]
    shape[axis] = pixels
    border = tf.fill(shape, tf.constant(FILL, tf.uint8))
    start[axis] = 2 * pixels * tf.random.stateless_uniform((), seed, 0, 2, tf.int32)
    return tf.slice(tf.concat([border, image, border], axis), tf.stack(start), image.shape)


def _scale(side: int, quirks: bool):
    """By how much distances meant for 224 pixels are longer; the published code has the same for every size."""
    return 1 if quirks else side / REFERENCE_SIDE
