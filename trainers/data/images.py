"""From what a source holds, an encoded string or pixels (H, W, C), to pixels."""

import tensorflow as tf

from keras_vit.images import decoding


def decode(image: tf.Tensor, channels: int):
    """uint8 (H, W, C) from an encoded string; pixels as they are.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if the string cannot be decoded; see `decoding`.
    """
    return decoding.decode(image, channels) if image.dtype == tf.string else image


def decode_crop(image: tf.Tensor, window: tf.Tensor, channels: int):
    """The window (top, left, height, width) of an image; of an encoded JPEG no more is decoded.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, as `decode`, or if the window is not inside the image.
    """
    if image.dtype == tf.string:
        return decoding.decode_crop(image, window, channels)
    return tf.image.crop_to_bounding_box(image, *tf.unstack(window))


def shape(image: tf.Tensor, channels: int):
    """int32 (3,): height, width, channels; an encoded image is not decoded for it.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if the string is no image.
    """
    if image.dtype == tf.string:
        return tf.concat([decoding.dimensions(image), [channels]], axis=0)
    return tf.shape(image)
