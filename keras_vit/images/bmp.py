"""Windows bitmaps, whose palettes, spare bytes and trailing bytes TensorFlow's decoder takes for something else.

It gives indices into the palette as grey levels and the fourth byte of a pixel as alpha, used or not, and refuses files
with bytes after the pixels. So it is told what it is looking at.
"""

import tensorflow as tf


def dimensions(header):
    """int32 (2,): height and width.

    Args:
        header: uint8 (70,), the beginning of the file.
    """
    width, height = _integers(header[18:26])
    return tf.stack([tf.abs(height), width])  # A negative height tells that the top row is stored first.


def pixels(encoded, header):
    """uint8 (H, W, 3), or (H, W, 4) with alpha.

    Args:
        encoded: String scalar that begins as a BMP does.
        header: uint8 (70,), its beginning.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if it is compressed, has other than 8, 24 or 32 bits per pixel,
            or ends early.
    """
    start, info = _integers(header[10:18])
    bits, compression = tf.cast(header[28], tf.int32), tf.cast(header[30], tf.int32)
    height, width = tf.unstack(dimensions(header))
    end = start + height * ((width * bits // 8 + 3) // 4 * 4)  # Rows are filled up to whole words.
    with tf.control_dependencies([_check_readable(info, bits, compression)]):
        complete = (info + 14 <= start) & (start < end) & (end <= tf.strings.length(encoded))
    with tf.control_dependencies([tf.raw_ops.Assert(condition=complete, data=["the BMP ends early"])]):
        encoded = tf.strings.substr(encoded, 0, end)

    def by_palette():
        # Blue, green, red and a spare byte for each colour.
        palette = tf.io.decode_raw(tf.strings.substr(encoded, 14 + info, start - 14 - info), tf.uint8)
        indices = tf.cast(tf.io.decode_bmp(encoded)[..., 0], tf.int32)
        return tf.gather(tf.reshape(palette, (-1, 4))[:, 2::-1], indices)

    declares_alpha = (info >= 56) & (compression > 0) & (header[69] == 255)
    kind = tf.where(bits == 8, 0, tf.where(declares_alpha, 1, 2))
    return tf.switch_case(
        kind, [by_palette, lambda: tf.io.decode_bmp(encoded, 4), lambda: tf.io.decode_bmp(encoded, 3)]
    )


def _check_readable(info, bits, compression):
    # Compression 3 and 6 mean that masks say where each colour lies.
    plain = (compression == 0) | ((bits == 32) & ((compression == 3) | (compression == 6)))
    text = "a BMP with {} bits per pixel and compression {}; 8, 24 and 32 bits without compression can be read"
    return tf.raw_ops.Assert(
        condition=(info >= 40) & tf.reduce_any(bits == [8, 24, 32]) & plain,
        data=[tf.strings.format(text, [bits, compression])],
    )


def _integers(data):
    """int32 of each 4 bytes, the lowest first."""
    return tf.unstack(tf.bitcast(tf.reshape(data, (-1, 4)), tf.int32))
