"""What the header of an image file says of its kind, in the graph: the format, and what is unusual about it."""

import functools
from collections.abc import Callable

import tensorflow as tf

from keras_vit.images import headers

FORMATS = (*headers.FORMATS, "not encoded")  # the last for arrays
MODES = ("colour", "grey", "palette", "CMYK", "alpha")

# What the names of files promise.
SUFFIXES = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WebP"}

_JPEG_MODES = {1: "grey", 4: "CMYK"}  # by number of components
_PNG_MODES = {0: "grey", 3: "palette"}  # by colour type (PNG specification, 11.2.2)


def kind(encoded: tf.Tensor):
    """int32 (2,): places in `FORMATS` and `MODES` of an encoded image, which is not decoded.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if the bytes are no image.
    """
    branches = {name: functools.partial(_kind, name) for name in headers.FORMATS}
    return headers.by_format(encoded, branches, tf.zeros((2,), tf.int32))


def _kind(name: str, encoded: tf.Tensor, header: tf.Tensor):
    return tf.stack([FORMATS.index(name), _MODES[name](encoded, header)])


def _among(number: tf.Tensor, modes: dict[int, str]):
    """The place in `MODES` that a table has for a number, else that of colour."""
    mode = tf.constant(MODES.index("colour"))
    for key, value in modes.items():
        mode = tf.where(number == key, MODES.index(value), mode)
    return mode


def _jpeg(encoded: tf.Tensor, header: tf.Tensor):
    return _among(tf.io.extract_jpeg_shape(encoded)[2], _JPEG_MODES)


def _png(encoded: tf.Tensor, header: tf.Tensor):
    alpha = headers.png_has_alpha(encoded, header)
    return tf.where(alpha, MODES.index("alpha"), _among(tf.cast(header[25], tf.int32), _PNG_MODES))


def _webp(encoded: tf.Tensor, header: tf.Tensor):
    # The flag for alpha is in the extended header only (RFC 9649, 2.7).
    alpha = (header[15] == ord("X")) & (header[20] & 16 > 0)
    return tf.where(alpha, MODES.index("alpha"), MODES.index("colour"))


def _always(mode: str, encoded: tf.Tensor, header: tf.Tensor):
    return tf.constant(MODES.index(mode))


_MODES: dict[str, Callable] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": functools.partial(_always, "palette"),
    "BMP": functools.partial(_always, "colour"),
    "WebP": _webp,
}
