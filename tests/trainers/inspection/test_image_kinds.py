"""Formats and modes, told from headers."""

import base64

import numpy as np
import pytest
import tensorflow as tf

from trainers.inspection.image_kinds import FORMATS, MODES, kind

KIND = tf.function(kind, input_signature=[tf.TensorSpec((), tf.string)])
# 8 x 8 pixels, written by Pillow.
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYICwwLCgwJCgoK"
    "/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFB"
    "BhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqS"
    "k5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD9/K/Qytyv"
    "2Er/2Q=="
)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 4)).astype("uint8")


def with_palette():
    """A PNG whose header says palette; it is not decoded here."""
    encoded = bytearray(tf.io.encode_png(PIXELS[..., :3]).numpy())
    encoded[25] = 3
    return bytes(encoded)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (tf.io.encode_jpeg(PIXELS[..., :3]).numpy(), ("JPEG", "colour")),
        (tf.io.encode_jpeg(PIXELS[..., :1]).numpy(), ("JPEG", "grey")),
        (CMYK, ("JPEG", "CMYK")),
        (tf.io.encode_png(PIXELS[..., :3]).numpy(), ("PNG", "colour")),
        (tf.io.encode_png(PIXELS[..., :1]).numpy(), ("PNG", "grey")),
        (tf.io.encode_png(PIXELS[..., :2]).numpy(), ("PNG", "alpha")),
        (tf.io.encode_png(PIXELS).numpy(), ("PNG", "alpha")),
        (with_palette(), ("PNG", "palette")),
        (b"GIF89a" + bytes(60), ("GIF", "palette")),
        (b"BM" + bytes(60), ("BMP", "colour")),
        (b"RIFF0000WEBPVP8 " + bytes(60), ("WebP", "colour")),
        (b"RIFF0000WEBPVP8X0000\x10" + bytes(60), ("WebP", "alpha")),
        (b"RIFF0000WEBPVP8X0000\x02" + bytes(60), ("WebP", "colour")),
    ],
)
def test_kinds(encoded, expected):
    number, mode = KIND(tf.constant(encoded)).numpy()
    assert (FORMATS[number], MODES[mode]) == expected


def test_what_is_no_image_has_none():
    with pytest.raises(tf.errors.InvalidArgumentError, match="it looks like text"):
        KIND(tf.constant(b"hello"))
