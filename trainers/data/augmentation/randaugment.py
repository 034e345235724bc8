"""RandAugment (Cubuk et al. 2019): a few operations drawn at random, with the arguments of the published ViT recipes.

Each row of `OPERATIONS` is `f(image, seed, magnitude, quirks)`: uint8 (h, w, C) of static shape, C 1 or 3, and an int64
seed (2,) to uint8 of the same shape. Amounts in docstrings are those of magnitude 10; others are in proportion.

With `quirks` they do what TensorFlow 2.21 makes of the code that trained the AugReg models (arXiv 2106.10270), whose
accidents are named where they are. Where results of that code depend on the host, in the last bit of a sum of floats,
arithmetic here is exact.
"""

import functools

import numpy as np
import tensorflow as tf

from trainers.data.augmentation import geometry
from trainers.settings.augmentation import AugmentationSettings

# Ten thousandths of red, green and blue, as tf.image.rgb_to_grayscale has them. Whole numbers, so that sums are exact;
# once for each channel of the result.
LUMA = np.repeat([[2989.0], [5870.0], [1140.0]], 3, axis=1).astype("float32")


def distort(image: tf.Tensor, seed: tf.Tensor, settings: AugmentationSettings):
    """Applies `settings.randaugment_layers` operations, each any of the table's with the same chance.

    Args:
        image: float32 (h, w, C) of static shape, values 0 to 255, C 1 or 3.
        seed: int64 (2,); everything random follows from it.
        settings: Needs the RandAugment fields of `AugmentationSettings`.

    Returns:
        float32 of the same shape, whole values; without layers, the image itself.
    """
    if not settings.randaugment_layers:
        return image
    # The operations are defined on bytes, which images of the published recipes were at this point: fractions go.
    pixels = tf.saturate_cast(image, tf.uint8)
    for layer in range(settings.randaugment_layers):
        pixels = _distort_once(pixels, tf.random.fold_in(seed, layer), settings)
    return tf.cast(pixels, tf.float32)


def _distort_once(image: tf.Tensor, seed: tf.Tensor, settings: AugmentationSettings):
    number = tf.random.stateless_uniform((), seed, 0, len(OPERATIONS), tf.int32)
    own_seed = tf.random.fold_in(seed, 1)
    magnitude, quirks = settings.randaugment_magnitude, settings.randaugment_quirks
    branches = [functools.partial(operation, image, own_seed, magnitude, quirks) for operation in OPERATIONS.values()]
    return tf.switch_case(number, branches)


def auto_contrast(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Stretches each channel to reach from 0 to 255; a channel of one value stays."""
    low, high = (tf.cast(reduce(image, (0, 1)), tf.float32) for reduce in (tf.reduce_min, tf.reduce_max))
    scale = tf.where(high > low, 255.0 / (high - low), 1.0)
    offset = tf.where(high > low, -low * scale, 0.0)
    stretched = tf.cast(_rows(image), tf.float32) * _per_row(scale, image) + _per_row(offset, image)
    return tf.reshape(tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.uint8), image.shape)


def equalize(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Makes the values of each channel about equally frequent, by the integer arithmetic of PIL."""
    channels = image.shape[-1]
    # Each channel has a histogram and a table of its own, one after the other.
    values = tf.cast(_rows(image), tf.int32) + _per_row(tf.range(channels) * 256, image)
    counts = tf.reshape(tf.math.bincount(values, minlength=channels * 256, maxlength=channels * 256), (channels, 256))
    before = tf.cumsum(counts, axis=1, exclusive=True)
    # All pixels but those of the highest value there is, which have this many below them.
    below_highest = tf.reduce_max(tf.where(counts > 0, before, 0), axis=1, keepdims=True)
    step = below_highest // 255
    tables = tf.where(step > 0, tf.minimum((before + step // 2) // tf.maximum(step, 1), 255), tf.range(256))
    # gather_nd takes two thirds of gather's time here.
    equalized = tf.gather_nd(tf.cast(tf.reshape(tables, (-1,)), tf.uint8), values[..., None])
    return tf.reshape(equalized, image.shape)


def invert(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """The negative."""
    return 255 - image


def posterize(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Keeps the 4 highest bits."""
    bits = int(magnitude / 10 * 4)
    if quirks and not 0 < bits <= 8:
        # The published code shifts bytes right and left by 8 - bits; outside 0 to 7, TensorFlow takes 7 instead.
        bits = 1
    return tf.bitwise.bitwise_and(image, tf.constant(255 >> bits ^ 255, tf.uint8))


def solarize(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Inverts values from 256 on: none, but all of them with the quirk."""
    threshold = int(magnitude / 10 * 256)
    if quirks:
        # The published code compares bytes with this number, of which TensorFlow takes the lowest 8 bits.
        threshold %= 256
    if threshold > 255:
        return image
    # For bytes 255 - x is x xor 255; tf.where takes several times as long.
    return tf.bitwise.bitwise_xor(image, 255 * tf.cast(image >= threshold, tf.uint8))


def color(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Blends with the grey image."""
    return _blend(_grey(image), image, magnitude)


def contrast(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Blends with the mean grey; with the quirk, with a constant that depends on the image's size only."""
    if quirks:
        height, width, _ = image.shape
        # The published code takes the sum of a histogram's 256 counts over 256 for the mean: 196 for 224 x 224.
        return _blend(float(min(height * width // 256, 255)), image, magnitude)
    # In float64, where sums are exact whatever the image's size.
    mean = tf.reduce_mean(tf.cast(_grey(image), tf.float64))
    return _blend(tf.cast(tf.floor(mean + 0.5), tf.float32), image, magnitude)


def brightness(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Blends with black."""
    return _blend(0.0, image, magnitude)


def sharpness(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Blends with the smoothed image, but for a border of one pixel, which stays."""
    height, width, channels = image.shape
    if min(height, width) < 3:
        return image
    pixels = tf.cast(_rows(image), tf.float32)
    columns = pixels[:-2] + pixels[1:-1] + pixels[2:]
    inner = pixels[1:-1, channels:-channels]
    # Of the 13 shares of a pixel, 5 are its own and 1 is each neighbour's.
    sums = columns[:, : -2 * channels] + columns[:, channels:-channels] + columns[:, 2 * channels :] + 4.0 * inner
    sharpened = _blend(tf.floor(sums / 13.0), inner, magnitude)
    return geometry.paste(tf.reshape(sharpened, (height - 2, width - 2, channels)), image, 1, 1)


def solarize_add(image: tf.Tensor, seed: tf.Tensor, magnitude: int, quirks: bool):
    """Adds 110 to values below 128."""
    dark = tf.cast(image < 128, tf.uint8)
    return image + dark * tf.minimum(255 - image, min(int(magnitude / 10 * 110), 255))


# In this order; they are drawn by number.
OPERATIONS = {
    "AutoContrast": auto_contrast,
    "Equalize": equalize,
    "Invert": invert,
    "Rotate": geometry.rotate,
    "Posterize": posterize,
    "Solarize": solarize,
    "Color": color,
    "Contrast": contrast,
    "Brightness": brightness,
    "Sharpness": sharpness,
    "ShearX": geometry.shear_x,
    "ShearY": geometry.shear_y,
    "TranslateX": geometry.translate_x,
    "TranslateY": geometry.translate_y,
    "Cutout": geometry.cutout,
    "SolarizeAdd": solarize_add,
}


def _rows(image: tf.Tensor):
    """(h, w * C): broadcasting along so long an axis is many times as fast as along C."""
    height, width, channels = image.shape
    return tf.reshape(image, (height, width * channels))


def _per_row(of_channels: tf.Tensor, image: tf.Tensor):
    """(w * C,): what belongs to the channels, as often as there are pixels in a row of `_rows`."""
    return tf.tile(of_channels, (image.shape[1],))


def _grey(image: tf.Tensor):
    """float32 (h, w, C) of whole values, all channels equal."""
    pixels = tf.cast(image, tf.float32)
    if image.shape[-1] == 1:
        return pixels
    # The published code's rounding: 255.5 / 255 and downwards.
    return tf.floor(tf.tensordot(pixels, LUMA, 1) * (255.5 / 255 / 10_000))


def _blend(degenerate: tf.Tensor | float, image: tf.Tensor, magnitude: int):
    """uint8: 1.9 times as far from `degenerate` as the image is; 0.1 times at magnitude 0."""
    factor = magnitude / 10 * 1.8 + 0.1
    blended = degenerate + factor * (tf.cast(image, tf.float32) - degenerate)
    return tf.cast(tf.clip_by_value(blended, 0.0, 255.0), tf.uint8)
