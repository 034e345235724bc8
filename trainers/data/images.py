"""From what a source holds to pixels."""

import tensorflow as tf


def decode(image, channels: int):
    """uint8 (H, W, C) from an encoded string, or from pixels as they are."""
    if image.dtype != tf.string:
        return image
    image = tf.io.decode_image(image, channels=channels, expand_animations=False)
    image.set_shape((None, None, channels))
    return image


def decode_crop(image, window, channels: int):
    """Decodes only the window (top, left, height, width) of an encoded JPEG; of other images, cuts it out."""
    if image.dtype != tf.string:
        return image[window[0] : window[0] + window[2], window[1] : window[1] + window[3]]
    return tf.cond(
        tf.io.is_jpeg(image),
        lambda: tf.io.decode_and_crop_jpeg(image, window, channels=channels),
        lambda: tf.image.crop_to_bounding_box(decode(image, channels), *tf.unstack(window)),
    )


def shape(image, channels: int):
    """(3,) int32 height, width, channels; of a JPEG without decoding it."""
    if image.dtype != tf.string:
        return tf.shape(image)
    return tf.cond(
        tf.io.is_jpeg(image),
        lambda: tf.io.extract_jpeg_shape(image),
        lambda: tf.shape(decode(image, channels)),
    )
