"""Random erasing (Zhong et al. 2017, section 3.2): a rectangle of the image becomes noise."""

import math

import tensorflow as tf

# The paper's, but for the largest area: there 0.4, here as in timm and torchvision.
AREAS = (0.02, 1 / 3)
ASPECTS = (0.3, 1 / 0.3)
TRIES = 10


def erase(image, seed, settings):
    """An image of which, with probability `settings.erasing`, a rectangle is noise; the image itself if that is 0.

    Its share of the area and the logarithm of its aspect are drawn evenly, until a rectangle fits; if none of ten does,
    nothing is erased. The noise is normal, of mean 0 and standard deviation 1 in each pixel and channel, so the image
    must be scaled to the model's range before.

    Args:
        image: float32 (h, w, C).
        seed: int (2,).
        settings: Needs `erasing`, from 0 to 1.

    Returns:
        float32 (h, w, C).
    """
    if not settings.erasing:
        return image
    chance = tf.random.stateless_uniform((), tf.random.fold_in(seed, 0))
    size, fits = _size(image.shape[:2], tf.random.fold_in(seed, 1))
    return tf.cond((chance < settings.erasing) & fits, lambda: _with_noise(image, size, seed), lambda: image)


def _size(shape, seed):
    """int32 (2,), height and width of the first rectangle drawn that fits into an image; and whether any does."""
    draws = tf.random.stateless_uniform((TRIES, 2), seed)
    areas = (AREAS[0] + draws[:, 0] * (AREAS[1] - AREAS[0])) * (shape[0] * shape[1])
    least, most = map(math.log, ASPECTS)
    aspects = tf.exp(least + draws[:, 1] * (most - least))
    sizes = tf.cast(tf.round(tf.sqrt(tf.stack([areas * aspects, areas / aspects], axis=1))), tf.int32)
    fit = tf.reduce_all(sizes < tf.constant(shape.as_list()), axis=1)
    return sizes[tf.argmax(tf.cast(fit, tf.int32))], tf.reduce_any(fit)


def _with_noise(image, size, seed):
    """The image with a rectangle of that size, anywhere, of noise."""
    free = tf.constant(image.shape[:2].as_list()) - size
    place = tf.random.stateless_uniform((2,), tf.random.fold_in(seed, 2)) * tf.cast(free + 1, tf.float32)
    corner = tf.cast(place, tf.int32)
    around = tf.concat([tf.stack([corner, free - corner], axis=1), [[0, 0]]], axis=0)
    noise = tf.random.stateless_normal((size[0], size[1], image.shape[-1]), tf.random.fold_in(seed, 3))
    erased = tf.pad(tf.ones_like(noise, tf.bool), around)
    return tf.ensure_shape(tf.where(erased, tf.pad(noise, around), image), image.shape)
