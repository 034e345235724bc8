"""What is not an image, or a broken one, or too large: always InvalidArgumentError, with the reason."""

import re
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vit.images import decoding, headers

STRING = tf.TensorSpec((), tf.string)
RGB = tf.function(lambda encoded: decoding.decode(encoded, 3), input_signature=[STRING])
SIZE = tf.function(decoding.dimensions, input_signature=[STRING])
CORNER = tf.function(lambda encoded: decoding.decode_crop(encoded, [0, 0, 8, 8], 3), input_signature=[STRING])

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype("uint8")
JPEG = tf.io.encode_jpeg(PIXELS).numpy()
PROGRESSIVE = tf.io.encode_jpeg(PIXELS, progressive=True).numpy()
PNG = tf.io.encode_png(PIXELS).numpy()


def png_header(height, width):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    )
    return PNG[:8] + b"".join(chunks)


def jpeg_header(height, width):
    at = JPEG.index(b"\xff\xc0")
    return JPEG[: at + 5] + struct.pack(">HH", height, width) + JPEG[at + 9 :]


def flipped(encoded, at):
    return encoded[:at] + bytes([encoded[at] ^ 1]) + encoded[at + 1 :]


def reason(function, encoded):
    """Message of the InvalidArgumentError; empty if there is none."""
    try:
        function(encoded)
    except tf.errors.InvalidArgumentError as error:
        return error.message
    return ""


FOREIGN = {
    "empty": (b"", "an empty file"),
    "zeros": (bytes(500), "zeros"),
    "text": (b"404: Not Found\n", "text"),
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "html with a byte order mark": (b"\xef\xbb\xbf<html>", "HTML"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS pointer"),
    "tiff": (b"II*\0\x08\0\0\0\xff\xfe", "TIFF"),
    "tiff, high byte first": (b"MM\0*\0\0\0\x08\xff", "TIFF"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\xff", "HEIC"),
    "avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1\xff", "AVIF"),
    "jpeg xl": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    "jpeg 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "zip": (b"PK\x03\x04\x14\0\xff", "zip"),
    "photoshop": (b"8BPS\0\1\xff", "Photoshop"),
    "noise": (b"\x9a\xbc\xde\xf0 noise", "something unknown"),
    "three bytes": (b"\x89PN", "something unknown"),
    "riff, but not webp": (b"RIFF\x24\0\0\0WAVEfmt \xff", "something unknown"),
}


@pytest.mark.parametrize("function", [RGB, SIZE, CORNER], ids=["decode", "dimensions", "decode_crop"])
def test_what_is_no_image_of_ours_is_named(function):
    reasons = {name: reason(function, encoded) for name, (encoded, _) in FOREIGN.items()}
    for name, (_, kind) in FOREIGN.items():
        assert re.search(f"JPEG, PNG, GIF, BMP, WebP: it looks like .*{kind}", reasons[name]), name


BROKEN = {
    "jpeg without its last byte": JPEG[:-1],
    "jpeg, nine tenths": JPEG[: len(JPEG) * 9 // 10],
    "jpeg, header only": JPEG[:100],
    "jpeg, three bytes": JPEG[:3],
    "progressive jpeg, nine tenths": PROGRESSIVE[: len(PROGRESSIVE) * 9 // 10],
    "jpeg, second half zeros": JPEG[: len(JPEG) // 2] + bytes(len(JPEG) // 2),
    "png without its last byte": PNG[:-1],
    "png without IEND": PNG[:-12],
    "png, half": PNG[: len(PNG) // 2],
    "png, header only": PNG[:33],
    "png, eight bytes": PNG[:8],
    "png, wrong checksum of the header": flipped(PNG, 29),
    "png, wrong checksum of the pixels": flipped(PNG, len(PNG) - 13),
    "png, wrong pixels": flipped(PNG, len(PNG) // 2),
    "webp, half": b"RIFF\x52\0\0\0WEBPVP8L\x46\0\0\0\x2f\x03\x80\0\0\x5f\x40",
    "webp, twelve bytes": b"RIFF\x52\0\0\0WEBP",
    "webp, an animation without frames": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x03\0\0\x02\0\0",
}


@pytest.mark.parametrize("function", [RGB, CORNER], ids=["decode", "decode_crop"])
def test_broken_images_are_errors_whole_and_cropped(function):
    assert [name for name, encoded in BROKEN.items() if not reason(function, encoded)] == []


BOMBS = {
    "png": (png_header(50_000, 50_000), "50000 x 50000"),
    "png, one too many": (png_header(2**13 + 1, 2**13), "8193 x 8192"),
    "png, sides beyond 31 bits": (png_header(2**32 - 1, 2**32 - 1), "-1 x -1"),
    "jpeg": (jpeg_header(65_000, 65_000), "65000 x 65000"),
    "long png": (png_header(4, 65_536), "4 x 65536"),
    "webp": (b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + bytes(9), "16777216 x 16777216"),
    "webp, lossy": (b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + b"\xff" * 4 + bytes(9), "16383 x 16383"),
    "webp, lossless": (b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + b"\xff" * 4 + bytes(9), "16384 x 16384"),
}


@pytest.mark.parametrize("function", [RGB, CORNER], ids=["decode", "decode_crop"])
def test_too_large_an_image_is_refused_by_its_header(function):
    reasons = {name: reason(function, encoded) for name, (encoded, _) in BOMBS.items()}
    for name, (_, size) in BOMBS.items():
        assert re.search(f"{size} pixels .*67,108,864", reasons[name]), name


def test_as_large_as_is_allowed():
    assert SIZE(png_header(2**13, 2**13)).numpy().prod() == decoding.MAX_PIXELS
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid PNG data"):  # this one has no pixels
        RGB(png_header(2**13, 2**13))


@settings(max_examples=100)
@given(
    st.sampled_from([row.magic.replace(b".", b"\0") for row in headers.FORMATS.values()] + [b"", PNG, JPEG]),
    st.binary(max_size=80),
    st.integers(0, 3000),
)
def test_any_bytes_give_an_image_or_an_invalid_argument(start, middle, cut):
    encoded = start[:cut] + middle + start[cut : cut + 200]
    try:
        pixels = RGB(encoded)
    except tf.errors.InvalidArgumentError:
        return
    assert pixels.shape[:2] == tuple(SIZE(encoded))
