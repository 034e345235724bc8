"""All that happens to a training image, in order. The same image and seed give the same result anywhere."""

import math

import tensorflow as tf

from keras_vit.errors import UserError
from keras_vit.images import transform
from keras_vit.preprocessing import Preprocessing
from trainers.data.augmentation import color_jitter, crops, keras_layers, randaugment
from trainers.settings.augmentation import AugmentationSettings

# Of random erasing, the paper's but for the largest area: there 0.4, here as in timm and torchvision.
AREAS = (0.02, 1 / 3)
ASPECTS = (0.3, 1 / 0.3)
TRIES = 10


def augment(
    image: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing, settings: AugmentationSettings
):
    """A training image as the model wants it.

    Args:
        image: Image as a source gives it: encoded string, or pixels (H, W, C) from 0 to 255.
        seed: int64 (2,); everything random follows from it.
        channels: C.
        preprocessing: The model's `Preprocessing`: size, kernel and scale.
        settings: Needs the fields of `AugmentationSettings`.

    Returns:
        float32 (h, w, C).
    """
    image = crops.AUGMENTATIONS[settings.augment](image, seed, channels, preprocessing, settings)
    if settings.flip:
        image = tf.image.stateless_random_flip_left_right(image, tf.random.fold_in(seed, 1))
    for number, distort in enumerate(DISTORTIONS.values(), 2):
        image = distort(image, tf.random.fold_in(seed, number), settings)
    image = transform.scale(image, preprocessing)
    return erase(image, tf.random.fold_in(seed, 0), settings)


def check(preprocessing: Preprocessing, channels: int, settings: AugmentationSettings) -> None:
    """Raises UserError for a recipe that such images cannot go through, before any of them is read.

    Args:
        preprocessing: The model's `Preprocessing`.
        channels: C.
        settings: Needs the fields of `AugmentationSettings`.
    """
    if channels not in (1, 3):
        for name in ("randaugment_layers", "color_jitter", "hue_jitter"):
            if getattr(settings, name):
                raise UserError(
                    f"--{name}={getattr(settings, name)} is for grey and RGB images; these have {channels} channels."
                )
    keras_layers.check(settings, (*preprocessing.size, channels))


def erase(image: tf.Tensor, seed: tf.Tensor, settings: AugmentationSettings):
    """An image of which, with probability `settings.erasing`, a rectangle is noise; the image itself if that is 0.

    Random erasing (Zhong et al. 2017, section 3.2). The rectangle's share of the area and the logarithm of its aspect
    are drawn evenly, until one fits; if none of ten does, nothing is erased. The noise is normal, of mean 0 and
    standard deviation 1 in each pixel and channel, so the image must be scaled to the model's range before.

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


def _size(shape: tf.TensorShape, seed: tf.Tensor):
    """int32 (2,), height and width of the first rectangle drawn that fits into an image; and whether any does."""
    draws = tf.random.stateless_uniform((TRIES, 2), seed)
    areas = (AREAS[0] + draws[:, 0] * (AREAS[1] - AREAS[0])) * (shape[0] * shape[1])
    least, most = map(math.log, ASPECTS)
    aspects = tf.exp(least + draws[:, 1] * (most - least))
    sizes = tf.cast(tf.round(tf.sqrt(tf.stack([areas * aspects, areas / aspects], axis=1))), tf.int32)
    fit = tf.reduce_all(sizes < tf.constant(shape.as_list()), axis=1)
    return sizes[tf.argmax(tf.cast(fit, tf.int32))], tf.reduce_any(fit)


def _with_noise(image: tf.Tensor, size: tf.Tensor, seed: tf.Tensor):
    """The image with a rectangle of that size, anywhere, of noise."""
    free = tf.constant(image.shape[:2].as_list()) - size
    place = tf.random.stateless_uniform((2,), tf.random.fold_in(seed, 2)) * tf.cast(free + 1, tf.float32)
    corner = tf.cast(place, tf.int32)
    around = tf.concat([tf.stack([corner, free - corner], axis=1), [[0, 0]]], axis=0)
    noise = tf.random.stateless_normal((size[0], size[1], image.shape[-1]), tf.random.fold_in(seed, 3))
    erased = tf.pad(tf.ones_like(noise, tf.bool), around)
    return tf.ensure_shape(tf.where(erased, tf.pad(noise, around), image), image.shape)


# In this order. Each is `f(image, seed, settings)`, values 0 to 255; without its setting it returns the image itself.
DISTORTIONS = {
    "randaugment": randaugment.distort,
    "color_jitter": color_jitter.jitter,
    "augment_layers": keras_layers.distort,
}
