"""The encoded images on which an exported file is held against its model."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from keras_vit.images import decoding, transform
from trainers.data import bad_images, images
from trainers.data.source import Source

SIZES = ((1.0, 1.0), (0.6, 0.9), (1.7, 1.3), (2.4, 3.1))  # of generated pictures, in shares of the model's


class Examples(NamedTuple):
    """Some images.

    Args:
        encoded: Their bytes.
        labels: (N,) integers, -1 where there is none; None where nobody knows any.
        words: Description of them, for people.
    """

    encoded: list[bytes]
    labels: np.ndarray | None
    words: str


def from_source(source: Source, expression: str, count: int) -> Examples:
    """Examples of a split, spread evenly over it; of those that cannot be read the source's policy decides.

    Args:
        source: Opened source.
        expression: Expression of the split.
        count: Number of them, at most.

    Raises:
        BadImage: for an image that cannot be read, unless such are to be skipped.
        UserError: if there is no such split, or none of them can be read.
    """
    split = source.split(expression)
    indices = np.linspace(0, split.size - 1, min(count, split.size)).round().astype("int64")
    read = tf.function(split.read, input_signature=[tf.TensorSpec((), tf.int64)])
    encoded, labels = [], []
    for index in indices:
        try:
            image, label = read(tf.constant(index))
            if image.dtype == tf.string:
                images.decode(image, source.channels)
        except tf.errors.OpError:
            split.bad.merge({split.name: {split.locate(int(index)): bad_images.why(split, int(index))}})
            split.bad.check()
            continue
        encoded.append(as_bytes(image))
        labels.append(label.numpy())
    if not encoded:
        raise UserError(f"None of the images of {expression} of {source.name} can be read.")
    single = None if source.several_labels or np.ndim(labels[0]) else np.array(labels, "int64")
    return Examples(encoded, single, f"{len(encoded):,} images of {source.name}, {expression}")


def resized(shown: Examples, size: tuple[int, int], channels: int) -> Examples:
    """The same images, all of one height and width."""

    def one(encoded):
        image = transform.resize_to(decoded(encoded, channels), size, antialias=True)
        return as_bytes(tf.ensure_shape(image, (*size, channels)))

    return shown._replace(
        encoded=[one(encoded) for encoded in shown.encoded], words=f"{shown.words}, {size[0]}x{size[1]}"
    )


def decoded(encoded: bytes, channels: int) -> np.ndarray:
    """uint8 (H, W, C)."""
    return decoding.decode(tf.constant(encoded), channels).numpy()


def as_bytes(image) -> bytes:
    """An encoded image as it is; pixels as a PNG, which loses nothing of bytes."""
    if image.dtype == tf.string:
        return image.numpy()
    return tf.io.encode_png(tf.cast(tf.clip_by_value(tf.round(tf.cast(image, tf.float32)), 0, 255), tf.uint8)).numpy()


def generated(shape: Sequence[int], count: int) -> Examples:
    """Pictures of waves and boxes in several sizes, half of them JPEG and half PNG; always the same.

    Args:
        shape: (H, W, C) of the model's images.
        count: Number of them.
    """
    height, width, channels = shape
    encoded = []
    for number in range(count):
        down, across = SIZES[number % len(SIZES)]
        pixels = picture(number, round(height * down) or 1, round(width * across) or 1, channels)
        kind = (number + number // len(SIZES)) % 2  # so that pictures of each size are of both kinds
        encoded.append((tf.io.encode_jpeg if kind else tf.io.encode_png)(pixels).numpy())
    return Examples(encoded, None, f"{count:,} generated pictures")


def picture(number: int, height: int, width: int, channels: int) -> np.ndarray:
    """Waves and boxes, uint8 (height, width, channels); the same for the same number."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    picture = np.zeros((height, width, channels))
    for channel in range(channels):
        for _ in range(6):
            down, across, phase = *random.normal(0, 6, 2), random.uniform(0, 6)
            picture[..., channel] += random.normal() * np.sin(down * rows + across * columns + phase)
    for _ in range(3):
        top, left, bottom, right = (random.uniform(0, 1, 4) * (height, width, height, width)).astype(int)
        box = slice(*sorted((top, bottom))), slice(*sorted((left, right)))
        picture[box] += random.normal(0, 1, channels)
    return np.clip(127 + 60 * picture, 0, 255).astype("uint8")
