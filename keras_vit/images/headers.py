"""What the first bytes of an image file say: its format, height and width."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from keras_vit.images import bmp, gif

# TensorFlow spells out the branches of a switch in the graph around it, where those not taken still cost time. As a
# function of its own a branch is one operation there.
apart = tf.function(autograph=False, experimental_attributes={"_noinline": True})


def dimensions(encoded):
    """Height and width of an encoded image, which is not decoded.

    Args:
        encoded: String scalar: JPEG, PNG, GIF, BMP or WebP.

    Returns:
        int32 (2,).

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if the bytes are no image.
    """
    branches = {name: row.dimensions for name, row in FORMATS.items()}
    return by_format(encoded, branches, tf.zeros((2,), tf.int32))


def by_format(encoded, branches: Mapping[str, Callable], otherwise):
    """branches[name of the image's format](encoded, header).

    Args:
        encoded: String scalar.
        branches: One for each of `FORMATS`; the header is uint8 (70,), filled up with zeros.
        otherwise: Tensor such as the branches return; shows their graph what comes out of it.

    Raises:
        tf.errors.InvalidArgumentError: in the graph, if it is none of the formats.
    """
    header = tf.io.decode_raw(encoded, tf.uint8, fixed_length=70)
    magics = tf.constant([list(row.magic.ljust(12, b".")) for row in FORMATS.values()], tf.uint8)
    matches = tf.reduce_all((header[:12] == magics) | (magics == ord(".")), axis=1)
    number = tf.argmax(tf.cast(tf.concat([matches, [True]], axis=0), tf.int32), output_type=tf.int32)
    cases = [lambda branch=branches[name]: branch(encoded, header) for name in FORMATS]
    return tf.switch_case(number, [*cases, lambda: refused(_unknown(encoded), otherwise)])


def refused(reason, otherwise):
    """`otherwise`, for the graph's sake; running it raises InvalidArgumentError with the reason."""
    with tf.control_dependencies([tf.raw_ops.Assert(condition=False, data=[reason])]):
        return tf.identity(otherwise)


@apart
def _unknown(encoded):
    """Why the bytes are no image of ours, by how they begin."""
    start = tf.strings.substr(encoded, 0, 64)
    guess = tf.constant("something unknown")
    for kind, pattern in FOREIGN.items():
        guess = tf.where(tf.strings.regex_full_match(start, pattern), kind, guess)
    return tf.strings.join([f"neither of {', '.join(FORMATS)}: it looks like ", guess])


def _png_dimensions(encoded, header):
    lowest_first = tf.reshape(header[16:24], (2, 4))[:, ::-1]
    return tf.bitcast(lowest_first, tf.int32)[::-1]


def png_has_alpha(encoded, header):
    """Whether a PNG has an alpha channel, or a chunk tRNS that says which colours are transparent."""
    end = tf.strings.length(encoded) - 8

    def kind(position):
        return tf.strings.substr(encoded, tf.minimum(position, end) + 4, 4)

    def passes(position):
        length = tf.io.decode_raw(tf.strings.substr(encoded, position, 4), tf.int32, little_endian=False)[0]
        return [position + 12 + tf.clip_by_value(length, 0, end)]

    # The chunk lies before the pixels, which are in IDAT.
    position = tf.while_loop(
        lambda position: (position < end) & (kind(position) != b"tRNS") & (kind(position) != b"IDAT"),
        passes,
        [8],
        maximum_iterations=1000,
    )[0]
    return (header[25] & 4 > 0) | (kind(position) == b"tRNS")


def _gif_dimensions(encoded, header):
    return gif.first_frame(encoded).canvas


def _bmp_dimensions(encoded, header):
    return bmp.dimensions(header)


def _webp_dimensions(encoded, header):
    """The canvas of the extended format (VP8X), or the header of a lossless (VP8L) or lossy (VP8) image."""
    bytes_ = tf.cast(header, tf.int32)
    extended = 1 + tf.reduce_sum(tf.reshape(bytes_[24:30], (2, 3)) * [1, 1 << 8, 1 << 16], axis=1)
    bits = tf.reduce_sum(tf.cast(header[21:25], tf.int64) * [1, 1 << 8, 1 << 16, 1 << 24])
    lossless = 1 + tf.cast(tf.stack([bits & 0x3FFF, bits // (1 << 14) & 0x3FFF]), tf.int32)
    lossy = tf.reduce_sum(tf.reshape(bytes_[26:30], (2, 2)) * [1, 1 << 8], axis=1) & 0x3FFF
    kind = header[15]
    return tf.where(kind == ord("X"), extended, tf.where(kind == ord("L"), lossless, lossy))[::-1]


class Format(NamedTuple):
    """How files of a format begin, a dot being any byte, and where their header has height and width."""

    magic: bytes
    dimensions: Callable


FORMATS = {
    "JPEG": Format(b"\xff\xd8\xff", lambda encoded, header: tf.io.extract_jpeg_shape(encoded)[:2]),
    "PNG": Format(b"\x89PNG\r\n\x1a\n", _png_dimensions),
    "GIF": Format(b"GIF8", _gif_dimensions),
    "BMP": Format(b"BM", _bmp_dimensions),
    "WebP": Format(b"RIFF....WEBP", _webp_dimensions),
}

# What people give by mistake -> how it begins (RE2); the last that matches is named.
FOREIGN = {
    "text": r"[\t\r\n -~]+",
    "HTML": r"(?i)\C{0,3}\s*<(!doctype|html|head|body|!--)\C*",
    "SVG or other XML": r"\C{0,3}\s*<(\?xml|svg)\C*",
    "a Git LFS pointer instead of the file": r"version https://git-lfs\C*",
    "zeros": r"\x00+",
    "an empty file": r"",
    "TIFF": r"(II\*\x00|MM\x00\*)\C*",
    "HEIC": r"\C{4}ftyp(hei|hev|mif1|msf1)\C*",
    "AVIF": r"\C{4}ftypavi\C*",
    "JPEG XL": r"\x00\x00\x00\x0cJXL \C*",
    "JPEG 2000": r"\x00\x00\x00\x0cjP  \C*",
    "PDF": r"%PDF\C*",
    "a Photoshop document": r"8BPS\C*",
    "a zip archive": r"PK\x03\x04\C*",
}
