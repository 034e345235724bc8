"""BMP files that are written here byte by byte."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vit.images import decoding

PALETTE = np.random.default_rng(0).integers(0, 255, (7, 4)).astype("uint8")  # blue, green, red, spare
RGB = tf.function(lambda encoded: decoding.decode(encoded, 3), input_signature=[tf.TensorSpec((), tf.string)])


def bmp(pixels, palette=b"", compression=0, masks=b"", top_down=False):
    """(H, W) indices, or (H, W, 3 or 4) with blue first."""
    height, width, *depth = pixels.shape
    rows = pixels.reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    data = (rows if top_down else rows[::-1]).tobytes()
    info = 40 + len(masks)
    start = 14 + info + len(palette)
    header = struct.pack("<2sIII", b"BM", start + len(data), 0, start)
    signed = -height if top_down else height
    bits = 8 * (depth[0] if depth else 1)
    header += struct.pack("<IiiHHIIiiII", info, width, signed, 1, bits, compression, len(data), 0, 0, 0, 0)
    return header + masks + palette + data


def random(*shape, high=256):
    return np.random.default_rng(1).integers(0, high, shape).astype("uint8")


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.binary(max_size=5))
def test_rows_in_both_orders_and_bytes_after_the_end(height, width, top_down, after):
    pixels = random(height, width, 3)
    encoded = bmp(pixels, top_down=top_down) + after
    assert decoding.dimensions(tf.constant(encoded)).numpy().tolist() == [height, width]
    assert np.array_equal(RGB(encoded), pixels[..., ::-1])


def test_palette_indices_become_colours():
    indices = random(6, 5, high=7)
    assert np.array_equal(RGB(bmp(indices, PALETTE.tobytes())), PALETTE[indices][..., 2::-1])


def test_the_fourth_byte_is_spare_unless_the_header_has_a_mask_for_alpha():
    pixels = random(6, 5, 4)
    assert np.array_equal(RGB(bmp(pixels)), pixels[..., 2::-1])
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    alpha = pixels[..., 3:] / 255
    expected = np.rint(255 * (1 - alpha) + alpha * pixels[..., 2::-1])
    assert np.array_equal(RGB(bmp(pixels, masks=masks, compression=3)), expected)
    assert np.array_equal(RGB(bmp(pixels, masks=masks, compression=0)), pixels[..., 2::-1])  # masks without effect


BROKEN = {
    "16 bits": (bmp(random(6, 5, 2)), "16 bits per pixel"),
    "compressed": (bmp(random(6, 5, high=7), PALETTE.tobytes(), compression=1), "compression 1"),
    "truncated": (bmp(random(6, 5, 3))[:-1], "the BMP ends early"),
    "ends in its palette": (bmp(random(6, 5, high=7), PALETTE.tobytes())[:60], "the BMP ends early"),
    "ends in its header": (bmp(random(6, 5, 3))[:20], "0 x 5 pixels"),
    "index beyond the palette": (bmp(random(6, 5, high=9), PALETTE.tobytes()), r"not in \[0, 7\)"),
    "a text": (b"BM are the initials of a text, not of a picture in this case.", "from 1 to 67,108,864"),
    "another header": (b"BM" + bytes(8) + struct.pack("<IIii", 54, 12, 5, 6) + bytes(60), "0 bits per pixel"),
    "too large": (b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 60_000, 60_000, 1, 24), "60000 x 60000"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_say_why(name):
    encoded, message = BROKEN[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        RGB(encoded)
