"""Fingerprints of images: equal for equal pixels, and close for the same picture saved in another way.

An image is reduced once, to block means in 16 and in 9 rows and columns. From these come a hash of 128 bits, which says
where neighbouring means rise (a "difference hash"), that of the mirror image, and a small picture that confirms what
they say.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vit.images import transform

SIDE = 8  # differences of a hash, in rows and columns
DETAIL, COLOURS = 2 * SIDE, SIDE // 2
MEANS = DETAIL + SIDE + 1  # those in 16 blocks, then those in 9

# Levels of 255. An image none of whose channels' means vary more is blank: its hash would be that of its noise.
BLANK = 1.0
# Differences count from this share of the spread of the means in grey on. Counted from 0, a plain background would give
# the bits of its compression noise; so would colours of one grey, which are taken for as flat as a blank image.
RISE = 0.1

_GREY = np.array([0.299, 0.587, 0.114], "float32")  # Rec. 601, as in decoding


class Fingerprints(NamedTuple):
    """Those of N images.

    Args:
        hashes: uint64 (N, 2).
        mirrored: uint64 (N, 2): what `hashes` would be if left and right changed places.
        details: uint8 (N, 16, 16): the image in grey.
        colours: uint8 (N, 4, 4, 3).
        spread: float32 (N,): how much the means vary over the image, as a standard deviation, in the channel in which
            they do most.
    """

    hashes: np.ndarray
    mirrored: np.ndarray
    details: np.ndarray
    colours: np.ndarray
    spread: np.ndarray


def empty(size: int) -> Fingerprints:
    """Zeros, to be filled."""
    return Fingerprints(
        np.zeros((size, 2), "uint64"),
        np.zeros((size, 2), "uint64"),
        np.zeros((size, DETAIL, DETAIL), "uint8"),
        np.zeros((size, COLOURS, COLOURS, 3), "uint8"),
        np.zeros(size, "float32"),
    )


def digest(pixels: tf.Tensor):
    """uint8 (8,): FarmHash of an image's shape and pixels, so that metadata and lossless compression do not matter.

    Of 14 million different images, two share it with a probability of 5 in a million.
    """
    parts = [tf.bitcast(each, tf.uint8) if each.dtype != tf.uint8 else each for each in (tf.shape(pixels), pixels)]
    return tf.fingerprint(tf.concat([tf.reshape(part, (1, -1)) for part in parts], axis=1))[0]


def reduced(pixels: tf.Tensor):
    """Block means, float32 (25, 25, 3), of an image (H, W, C) with values 0 to 255; of 3 channels, or of the first."""
    pixels = pixels[..., : 3 if pixels.shape[-1] >= 3 else 1]
    height, width = tf.unstack(tf.shape(pixels)[:2])
    rows, columns = (
        tf.concat([transform.resize_matrix(side, count, "area", False, 0, count) for count in (DETAIL, SIDE + 1)], 0)
        for side in (height, width)
    )
    flat = tf.reshape(tf.cast(pixels, tf.float32), (height, -1))
    by_row = tf.reshape(tf.matmul(rows, flat), (MEANS, width, pixels.shape[-1]))
    return tf.broadcast_to(tf.einsum("pw,owc->opc", columns, by_row), (MEANS, MEANS, 3))


def fingerprints(means: np.ndarray) -> Fingerprints:
    """Those of images from their block means, float32 (N, 25, 25, 3)."""
    count, small = len(means), means[:, :DETAIL, :DETAIL]
    spread = small.std(axis=(1, 2)).max(axis=-1)  # not over channels too: a red image varies among them
    grey = small @ _GREY
    rise = RISE * np.maximum(grey.std(axis=(1, 2)), BLANK)[:, None, None]
    flipped = np.concatenate([means[:, :, DETAIL - 1 :: -1], means[:, :, : DETAIL - 1 : -1]], axis=2)
    block = DETAIL // COLOURS
    colours = small.reshape(count, COLOURS, block, COLOURS, block, 3).mean(axis=(2, 4))
    return Fingerprints(
        _hashes(means, rise),
        _hashes(flipped, rise),
        grey.round().astype("uint8"),
        colours.round().astype("uint8"),
        spread,
    )


def _hashes(means: np.ndarray, rise: np.ndarray) -> np.ndarray:
    """uint64 (N, 2): where grey rises to the right, in 8 rows, and where it rises downwards, in 8 columns."""
    grey, count = means @ _GREY, len(means)
    right = grey[:, :DETAIL, DETAIL:].reshape(count, SIDE, 2, SIDE + 1).mean(axis=2)
    down = grey[:, DETAIL:, :DETAIL].reshape(count, SIDE + 1, SIDE, 2).mean(axis=3)
    bits = [np.diff(right, axis=2) > rise, np.diff(down, axis=1) > rise]
    return np.packbits(np.concatenate([each.reshape(count, -1) for each in bits], axis=1), axis=1).view("uint64")
