"""The first image of GIF files that are written here byte by byte."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vit.images import decoding

PALETTE = np.random.default_rng(0).integers(0, 255, (128, 3)).astype("uint8")
RGB = tf.function(lambda encoded: decoding.decode(encoded, 3), input_signature=[tf.TensorSpec((), tf.string)])


def chain(data, length=255):
    parts = [data[at : at + length] for at in range(0, len(data), length)]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def control(transparent):
    return b"\x21\xf9\x04\x01\0\0" + bytes([transparent]) + b"\0"


def image(indices, top=0, left=0, palette=None, length=255):
    """An image block. Codes of 7-bit pixels have 8 bits until the table fills up; it is cleared before."""
    flat = indices.astype("uint8").tobytes()
    codes = b"".join(b"\x80" + flat[at : at + 100] for at in range(0, len(flat), 100)) + b"\x81"
    table = b"" if palette is None else palette.tobytes()
    descriptor = struct.pack("<BHHHHB", 0x2C, left, top, *indices.shape[::-1], 0x86 if table else 0)
    return descriptor + table + b"\x07" + chain(codes, length)


def gif(*blocks, canvas):
    return b"GIF89a" + struct.pack("<HHBBB", *canvas[::-1], 0x86, 0, 0) + PALETTE.tobytes() + b"".join(blocks) + b";"


def pixels_of(size, seed=0):
    return np.random.default_rng(seed).integers(0, 128, size)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 255))
def test_a_single_image(height, width, length):
    indices = pixels_of((height, width))
    encoded = gif(image(indices, length=length), canvas=(height, width))
    assert decoding.dimensions(tf.constant(encoded)).numpy().tolist() == [height, width]
    assert np.array_equal(RGB(encoded), PALETTE[indices])


def test_the_first_frame_has_its_place_on_a_white_canvas():
    indices = pixels_of((5, 7))
    encoded = gif(image(indices, top=2, left=3), image(pixels_of((9, 20), 1)), canvas=(9, 20))
    expected = np.full((9, 20, 3), 255)
    expected[2:7, 3:10] = PALETTE[indices]
    assert np.array_equal(RGB(encoded), expected)


def test_a_canvas_too_small_for_the_frame_grows():
    indices = pixels_of((5, 7))
    assert np.array_equal(RGB(gif(image(indices), canvas=(0, 0))), PALETTE[indices])


def test_a_frame_may_have_its_own_palette():
    indices = pixels_of((5, 7))
    encoded = gif(control(indices[2, 2]), image(indices, palette=PALETTE[::-1]), canvas=(5, 7))
    expected = PALETTE[::-1][indices]
    expected[indices == indices[2, 2]] = 255
    assert np.array_equal(RGB(encoded), expected)


def test_what_is_transparent_is_white():
    indices = pixels_of((20, 30))
    encoded = gif(b"\x21\xfe" + chain(b"a comment"), control(indices[2, 2]), image(indices), canvas=(20, 30))
    expected = PALETTE[indices]
    expected[indices == indices[2, 2]] = 255
    assert np.array_equal(RGB(encoded), expected)


def test_later_frames_are_not_even_read():
    """Neither is their memory taken, however many there are, nor does it matter that they are cut off."""
    indices = pixels_of((5, 7))
    huge = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x07"
    encoded = gif(image(indices), *[huge] * 20, canvas=(5, 7))
    assert np.array_equal(RGB(encoded), PALETTE[indices])


LARGE = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x07\0"
BROKEN = {
    "no image": (gif(canvas=(5, 7)), "holds no image"),
    "six bytes": (b"GIF89a", "holds no image"),
    "ends in the descriptor": (gif(canvas=(5, 7))[:-1] + b"\x2c\0\0", "holds no image"),
    "ends in the pixels": (gif(image(pixels_of((50, 70))), canvas=(50, 70))[:-900], "ends within its first image"),
    "too large a canvas": (gif(image(pixels_of((5, 7))), canvas=(60_000, 60_000)), "60000 x 60000"),
    "too large a frame": (gif(LARGE, canvas=(1, 1)), "65535 x 65535"),
    "no pixels": (gif(image(np.zeros((0, 5))), canvas=(0, 0)), "0 x 5"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_say_why(name):
    encoded, message = BROKEN[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        RGB(encoded)
