"""The rules of decoding, on files written here byte by byte, by TensorFlow, or (WebP, CMYK) once by Pillow."""

import base64
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vit.images import decoding, transform

STRING = [tf.TensorSpec((), tf.string)]
RGB = tf.function(lambda encoded: decoding.decode(encoded, 3), input_signature=STRING)
GREY = tf.function(lambda encoded: decoding.decode(encoded, 1), input_signature=STRING)
SIZE = tf.function(decoding.dimensions, input_signature=STRING)
CROP = tf.function(
    lambda encoded, window: decoding.decode_crop(encoded, window, 3),
    input_signature=[*STRING, tf.TensorSpec((4,), tf.int32)],
)

# 3 x 4 pixels: lossless RGB and RGBA, and the same animated, lossy in the case of RGB.
WEBP = {
    "rgb": (
        "UklGRlIAAABXRUJQVlA4TEYAAAAvA4AAAF9AkG1ThOEe+zgG2UYqwqEd4iE82iMQBJCME85Y44wxwjjzH+h/Us81OXOXGigUEiAIIKHIILMF"
        "9phk44j+R90D"
    ),
    "rgba": (
        "UklGRlwAAABXRUJQVlA4TFAAAAAvA4AAEF9AkG1ThOEe+zgG2UYqwqEd4iE82iMQBJCME85Y44wxwjgG0rbJRM7kLvKB/Pep52namfulBkqV"
        "SgKCABKKDDJbYI9JNo7of9Q9AA=="
    ),
    "animated rgb": (
        "UklGRlwBAABXRUJQVlA4WAoAAAACAAAAAwAAAgAAQU5JTQYAAAAAAAAAAABBTk1GlAAAAAAAAAAAAAMAAAIAAAAAAAJWUDggfAAAALABAJ0B"
        "KgQAAwAAAAAlsAADa2Fb+7AA/th//tMP/3Vf/+91r8Rf/QGgHX//743J8ef4TvuIP6G///Vvn5M/yotf6G///otzkvbv/Kfv//sg//O//6WH"
        "/llP+RX/T9v6yX9A//0sP/K7uX9ZL//3d3/zpX/yK/6cP+ssAABBTk1GlAAAAAAAAAAAAAMAAAIAAAAAAABWUDggfAAAALQBAJ0BKgQAAwAA"
        "AAAlsAADXxQXCUAA/vb//9oI/+8Sf/3qpf1Of/F0qP//vbRT0z/jsOoy/qb//9aifqn/GBb/k3//9DZfi6e/5Nl//9LD/zmP+f//5R5/Hb/o"
        "h39OH/syf/P//8nzM/04f//aCP/N+f/Hb/oT/y5AAAA="
    ),
    "animated rgba": (
        "UklGRsgAAABXRUJQVlA4WAoAAAASAAAAAwAAAgAAQU5JTQYAAAAAAAAAAABBTk1GSAAAAAAAAAAAAAMAAAIAAAAAAAJWUDhMMAAAAC8DgAAQ"
        "T0CQbTOE49b/EgMlEEjGyZ9mnKnqQVIB9g9AEECiEEIIw62wwuwR/Q/qckFOTUZMAAAAAAAAAAAAAwAAAgAAAAAAAlZQOEw0AAAALwOAABBP"
        "QCAI4QFz+++EQCDFIW4wQbbNcGp17eNMVQ8ifQHWPwCBAGUwjHPBBRH9j2euAA=="
    ),
}
WEBP = {name: base64.b64decode(text) for name, text in WEBP.items()}

# 8 x 8 pixels of cyan 0, magenta 60, yellow 120, black 30 of 255, stored inverted as Adobe does.
CMYK = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwACAQEBAQECAQEBAgICAgIEAwICAgIFBAQDBAYFBgYGBQYGBgcJCAYHCQcGBggLCAkKCgoKCgYICwwLCgwJCgoK"
    "/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFB"
    "BhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqS"
    "k5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkASwAAPwD9/K/Qytyv"
    "2Er/2Q=="
)


def png(pixels, colour_type, depth=8, *chunks):
    """Rows of packed bytes between IHDR, any chunks, and IEND."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    if depth < 8:
        bits = np.unpackbits(pixels.astype("uint8")[..., None], axis=2)[..., -depth:]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    else:
        rows = pixels.astype(">u2" if depth == 16 else "uint8").reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def random(*shape, high=256):
    return np.random.default_rng(1).integers(0, high, shape).astype("uint16")


def over_white(colour, alpha):
    return np.rint(255 + (colour.astype(float) - 255) * alpha[..., None] / 255)


def grey_of(rgb):
    return np.asarray(rgb) @ [0.299, 0.587, 0.114]


def check(encoded, rgb):
    rgb = np.broadcast_to(rgb, (*np.shape(rgb)[:2], 3))
    assert np.array_equal(RGB(encoded), rgb)
    assert np.abs(GREY(encoded)[..., 0] - grey_of(rgb)).max() <= 1
    assert SIZE(encoded).numpy().tolist() == list(rgb.shape[:2])


def jpeg(height, width, **options):
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(2).normal(0, 25, (height, width, 3))
    waves = np.stack([127 + 100 * np.sin(x / 7 + band) * np.cos(y / 9) for band in range(3)], axis=-1)
    return tf.io.encode_jpeg(np.clip(waves + noise, 0, 255).astype("uint8"), **options).numpy()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_png_of_every_depth(depth):
    """16 bits lose their lower 8; fewer than 8 are spread out over 0 to 255."""
    levels = random(9, 13, high=2**depth)
    values = levels >> 8 if depth == 16 else levels * 255 // (2**depth - 1)
    check(png(levels, 0, depth), values[..., None])
    transparent = levels[4, 4]
    encoded = png(levels, 0, depth, (b"tRNS", struct.pack(">H", transparent)))
    check(encoded, np.where(levels == transparent, 255, values)[..., None])


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_png_with_a_palette(depth):
    indices, palette = random(9, 13, high=2**depth), random(2**depth, 3)
    plte = (b"PLTE", palette.astype("uint8").tobytes())
    check(png(indices, 3, depth, plte), palette[indices])
    alphas = np.array([0, 100])  # of the first two colours; the others are opaque
    encoded = png(indices, 3, depth, plte, (b"tRNS", bytes(alphas.tolist())))
    alpha = np.concatenate([alphas, np.full(254, 255)])[indices]
    check(encoded, over_white(palette[indices], alpha))


@pytest.mark.parametrize("depth", [8, 16])
def test_png_with_alpha(depth):
    pixels = random(9, 13, 4, high=2**depth)
    high_bytes = pixels >> (depth - 8)
    check(png(pixels, 6, depth), over_white(high_bytes[..., :3], high_bytes[..., 3]))
    check(png(pixels[..., 2:], 4, depth), over_white(high_bytes[..., 2:3].repeat(3, axis=-1), high_bytes[..., 3]))
    colour = struct.pack(">HHH", *pixels[2, 3, :3].tolist())
    expected = high_bytes[..., :3].copy()
    expected[2, 3] = 255
    check(png(pixels[..., :3], 2, depth, (b"tRNS", colour)), expected)


def test_a_text_in_a_png_is_not_taken_for_transparency():
    levels = random(9, 13, high=2)
    check(png(levels, 0, 1, (b"tEXt", b"Comment\0\0\0\0\2tRNS\0\1")), levels[..., None] * 255)


def test_an_animated_png_gives_its_default_image():
    pixels = random(9, 13, 3)
    frame = (b"fcTL", struct.pack(">IIIIIHHBB", 0, 13, 9, 0, 0, 1, 10, 0, 0))
    check(png(pixels, 2, 8, (b"acTL", struct.pack(">II", 2, 0)), frame), pixels)


@pytest.mark.parametrize("name", WEBP)
def test_webp(name):
    y, x = np.mgrid[:3, :4]
    colour, alpha = np.stack([x * 80, y * 120, (x + y) * 40], axis=-1), x * 85
    if not hasattr(tf.io, "decode_webp"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="a WebP image, which TensorFlow"):
            RGB(WEBP[name])
    elif name == "animated rgb":
        lossy_row = [[39, 99, 53], [94, 112, 85], [174, 113, 127], [228, 127, 161]]
        assert RGB(WEBP[name]).numpy()[1].tolist() == lossy_row
    else:
        check(WEBP[name], over_white(colour, alpha) if "rgba" in name else colour)
    assert SIZE(WEBP[name]).numpy().tolist() == [3, 4]


def test_cmyk_becomes_rgb_and_grey():
    expected = np.full((8, 8, 3), [225, 172, 119])
    assert np.abs(RGB(CMYK) - expected).max() <= 2
    assert np.abs(GREY(CMYK)[..., 0] - grey_of(expected)).max() <= 2
    assert np.abs(decoding.decode_crop(CMYK, [1, 2, 3, 4], 1)[..., 0] - grey_of(expected)[1:4, 2:6]).max() <= 2


def test_exif_orientation_is_ignored():
    plain = jpeg(20, 30)
    rotated = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x112, 3, 1, 6, 0, 0)
    exif = b"\xff\xe1" + struct.pack(">H", len(rotated) + 8) + b"Exif\0\0" + rotated
    assert np.array_equal(RGB(plain[:2] + exif + plain[2:]), tf.io.decode_jpeg(plain))


@pytest.mark.parametrize("size", [(1, 1), (30_000, 20)])
def test_the_smallest_and_the_longest(size):
    pixels = random(*size, 3).astype("uint8")
    for encoded in (tf.io.encode_png(pixels), tf.io.encode_jpeg(pixels)):
        assert SIZE(encoded).numpy().tolist() == list(size)
        assert np.array_equal(RGB(encoded), tf.io.decode_image(encoded))


@settings(max_examples=60)
@given(st.data(), st.booleans(), st.booleans())
def test_a_crop_is_the_window_of_the_whole_image(data, chroma, progressive):
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    encoded = jpeg(height, width, chroma_downsampling=chroma, progressive=progressive)
    if data.draw(st.booleans()):
        encoded += b"bytes after the end"
    crop = CROP(encoded, [top, left, bottom - top, right - left])
    assert np.array_equal(crop, tf.io.decode_jpeg(encoded, 3)[top:bottom, left:right])


def test_a_crop_of_the_last_column_alone():
    encoded = jpeg(8, 18, chroma_downsampling=True)
    assert np.array_equal(CROP(encoded, [0, 17, 8, 1]), tf.io.decode_jpeg(encoded, 3)[:, 17:])


def test_a_crop_of_other_formats_and_of_grey():
    pixels = random(9, 13, 4)
    whole = over_white(pixels[..., :3], pixels[..., 3])
    assert np.array_equal(CROP(png(pixels, 6), [2, 3, 4, 5]), whole[2:6, 3:8])
    encoded = jpeg(20, 30)
    assert np.array_equal(decoding.decode_crop(encoded, [2, 3, 4, 5], 1), GREY(encoded)[2:6, 3:8])


@pytest.mark.parametrize("window", [[0, 0, 21, 30], [-1, 0, 5, 5], [0, -1, 5, 5], [0, 28, 5, 5]])
def test_a_window_outside_the_image_is_an_error(window):
    for encoded in (jpeg(20, 30), tf.io.encode_png(random(20, 30, 3).astype("uint8"))):
        with pytest.raises(tf.errors.InvalidArgumentError):
            CROP(encoded, window)


def test_the_same_in_a_dataset_and_in_a_saved_model(tmp_path):
    files = [jpeg(20, 30), png(random(9, 13, 4), 6), WEBP["rgb"] if hasattr(tf.io, "decode_webp") else CMYK]
    expected = [RGB(file).numpy() for file in files]
    dataset = tf.data.Dataset.from_tensor_slices(files).map(lambda encoded: decoding.decode(encoded, 3))
    assert all(np.array_equal(ours, there) for ours, there in zip(dataset, expected, strict=True))

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
    def serve(batch):
        return tf.map_fn(
            lambda encoded: transform.resize_to(decoding.decode(encoded, 3), (4, 4)),
            batch,
            fn_output_signature=tf.TensorSpec((4, 4, 3), tf.float32),
        )

    module = tf.Module()
    module.serve = serve
    tf.saved_model.save(module, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).serve(tf.constant(files))
    for ours, there in zip(served, expected, strict=True):
        assert np.allclose(ours, transform.resize_to(there, (4, 4)), atol=1e-3)
