"""RandAugment (Cubuk et al. 2019): a few operations, drawn at random, one after the other."""

import functools

import tensorflow as tf

from trainers.data.augmentation.operations import OPERATIONS


def distort(image, seed, settings):
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


def _distort_once(image, seed, settings):
    number = tf.random.stateless_uniform((), seed, 0, len(OPERATIONS), tf.int32)
    own_seed = tf.random.fold_in(seed, 1)
    magnitude, quirks = settings.randaugment_magnitude, settings.randaugment_quirks
    branches = [functools.partial(operation, image, own_seed, magnitude, quirks) for operation in OPERATIONS.values()]
    return tf.switch_case(number, branches)
