"""From encoded bytes to pixels, in the graph: one set of rules for training, evaluation, prediction and SavedModels.

- JPEG, PNG, GIF, BMP and WebP are told by their first bytes, never by a file's name.
- Grey and palette images become RGB; where one channel is wanted, colours become grey (Rec. 601).
- CMYK and YCCK become RGB by the decoder. Colour profiles and gamma are ignored.
- Alpha goes over white: in PNG (tRNS too), GIF, WebP, and BMP whose header declares it.
- Of 16 bits per channel the upper 8 are kept.
- Of an animation the first frame is taken, on the whole canvas; what it leaves free is white.
- EXIF orientation is ignored. Published recipes and their figures were made so, and a client that sends pixels instead
  of bytes sees what the model saw.
- JPEG decoding uses the fast integer transform and interpolated chroma, TensorFlow's defaults.
- An image of more than `MAX_PIXELS`, or with a side above `MAX_SIDE`, is refused by what its header says, before memory
  is taken for it.

What cannot be decoded is a tf.errors.InvalidArgumentError with the reason, raised by an operation of the graph.
"""

import functools

import tensorflow as tf

from keras_vit.images import bmp, gif, headers
from keras_vit.images.headers import dimensions

__all__ = ["MAX_PIXELS", "MAX_SIDE", "decode", "decode_crop", "dimensions"]

MAX_PIXELS = 2**26  # 200 MB of RGB
MAX_SIDE = 65_535  # what JPEG and GIF allow; resizing takes memory by the longer side


def decode(encoded, channels: int):
    """Pixels of an encoded image.

    Args:
        encoded: String scalar.
        channels: 1 or 3.

    Returns:
        uint8 (H, W, channels).

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if the bytes are no image, or a broken or too large one.
    """
    branches = {name: functools.partial(branch, channels=channels) for name, branch in BRANCHES.items()}
    return headers.by_format(encoded, branches, tf.zeros((0, 0, channels), tf.uint8))


def decode_crop(encoded, window, channels: int):
    """`decode(encoded, channels)` cut to a window; of a JPEG, no more is decoded than the window needs.

    Args:
        encoded: String scalar.
        window: int32 (4,): top, left, height, width, inside the image.
        channels: 1 or 3.

    Returns:
        uint8 (height, width, channels), exactly the pixels that `decode` gives there.

    Raises:
        tf.errors.InvalidArgumentError: as `decode`, or if the window is not inside the image.
    """
    # A truncated JPEG whose window lies in what is left would decode, but is to fail here as it does in `decode`. It
    # does not end as JPEGs end; nor do some that are whole, which then take the longer way.
    last = tf.strings.substr(encoded, tf.maximum(tf.strings.length(encoded) - 2, 0), 2)
    return tf.cond(
        tf.io.is_jpeg(encoded) & (last == b"\xff\xd9"),
        lambda: _jpeg_crop(encoded, window, channels),
        lambda: tf.image.crop_to_bounding_box(decode(encoded, channels), *tf.unstack(window)),
    )


def _check_size(size):
    text = (
        f"the image has {{}} x {{}} pixels (height x width); from 1 to {MAX_PIXELS:,} in all can be read, and no side "
        f"above {MAX_SIDE:,}"
    )
    in_all = tf.reduce_prod(tf.cast(size, tf.int64))
    return tf.raw_ops.Assert(
        condition=(tf.reduce_min(size) > 0) & (in_all <= MAX_PIXELS) & (tf.reduce_max(size) <= MAX_SIDE),
        data=[tf.strings.format(text, tf.unstack(size))],
    )


def _grey(rgb):
    return tf.cast(tf.tensordot(tf.cast(rgb, tf.float32), [[0.299], [0.587], [0.114]], 1) + 0.5, tf.uint8)


def _finished(pixels, channels):
    """What is to be returned of (H, W, 3), or of (H, W, 4) with alpha."""

    def over_white():
        colour, alpha = tf.cast(pixels[..., :3], tf.float32), tf.cast(pixels[..., 3:], tf.float32)
        return tf.cast(255.5 + (colour - 255.0) * alpha * (1 / 255), tf.uint8)

    rgb = tf.cond(tf.shape(pixels)[-1] == 4, over_white, lambda: pixels)
    return _grey(rgb) if channels == 1 else rgb


def _jpeg(encoded, header, channels):
    return _jpeg_by(lambda channels: tf.io.decode_jpeg(encoded, channels), encoded, channels)


def _jpeg_by(decoder, encoded, channels):
    """decoder(channels), but for CMYK to grey, which TensorFlow's refuses."""
    if channels != 1:
        return decoder(channels)
    cmyk = tf.io.extract_jpeg_shape(encoded)[2] == 4
    return tf.cond(cmyk, lambda: _grey(decoder(3)), lambda: decoder(1))


def _jpeg_crop(encoded, window, channels):
    size = tf.io.extract_jpeg_shape(encoded)[:2]
    top, left, height, width = tf.unstack(window)
    # Chroma is interpolated between columns 2 pixels apart, and the decoder knows none outside its window.
    first = tf.minimum(left, tf.maximum(left - 2, 0))
    last = tf.maximum(left + width, tf.minimum(left + width + 2, size[1]))
    wider = tf.stack([top, first, height, last - first])
    with tf.control_dependencies([_check_size(size)]):
        pixels = _jpeg_by(lambda channels: tf.io.decode_and_crop_jpeg(encoded, wider, channels), encoded, channels)
    return tf.ensure_shape(pixels[:, left - first : left - first + width], (None, None, channels))


def _png(encoded, header, channels):
    # Where there is no alpha the decoder makes one up if asked, and a wrong one for images of less than 8 bits.
    return tf.cond(
        headers.png_has_alpha(encoded, header),
        lambda: _finished(tf.io.decode_png(encoded, 4), channels),
        lambda: tf.io.decode_png(encoded, channels),
    )


def _gif(encoded, header, channels):
    frame = gif.first_frame(encoded)
    pixels = tf.io.decode_image(gif.alone(encoded, frame), 3, expand_animations=False)
    before = frame.box[:2]
    after = frame.canvas - before - frame.box[2:]
    margins = tf.concat([tf.stack([before, after], axis=1), [[0, 0]]], axis=0)
    return _finished(tf.pad(pixels, margins, constant_values=255), channels)


def _bmp(encoded, header, channels):
    return _finished(bmp.pixels(encoded, header), channels)


def _webp(encoded, header, channels):
    if not hasattr(tf.io, "decode_webp"):
        reason = f"a WebP image, which TensorFlow {tf.__version__} cannot decode; later versions can"
        return headers.refused(reason, tf.zeros((1, 1, channels), tf.uint8))
    # Of an animation TensorFlow 2.21 writes RGBA, into memory for RGB unless the header declares alpha. It is made to.
    animated = tf.reduce_all(header[12:16] == list(b"VP8X")) & (header[20] & 2 > 0)
    rest = tf.strings.substr(encoded, tf.minimum(tf.strings.length(encoded), 21), -1)
    declared = tf.strings.join([tf.strings.substr(encoded, 0, 20), b"\x12", rest])
    return _finished(tf.io.decode_image(tf.where(animated, declared, encoded), expand_animations=False), channels)


DECODERS = {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "BMP": _bmp, "WebP": _webp}


def _checked(name, decoder):
    """The decoder, after a look at the size that the header gives."""

    def checked(encoded, header, channels):
        with tf.control_dependencies([_check_size(headers.FORMATS[name].dimensions(encoded, header))]):
            return tf.ensure_shape(decoder(encoded, header, channels), (None, None, channels))

    return checked if name == "JPEG" else headers.apart(checked)


BRANCHES = {name: _checked(name, decoder) for name, decoder in DECODERS.items()}
