"""Colour jitter: brightness, contrast, saturation and hue, each by a random amount, in random order."""

from collections.abc import Callable

import tensorflow as tf

from trainers.settings.augmentation import AugmentationSettings

# Of R, G and B in grey (ITU-R BT.601), as in PIL.
LUMA = (0.299, 0.587, 0.114)


def jitter(image: tf.Tensor, seed: tf.Tensor, settings: AugmentationSettings):
    """An image in other colours; the image itself if the settings ask for none.

    Brightness, contrast and saturation are each multiplied by a factor within `settings.color_jitter` of 1, and hue is
    turned by up to `settings.hue_jitter` of a full circle, in an order drawn for each image. After each step values are
    clipped, so that the order matters (as in torchvision's ColorJitter).

    Args:
        image: float32 (h, w, C), values 0 to 255; of one channel, neither saturation nor hue changes anything.
        seed: int (2,).
        settings: Needs `color_jitter`, from 0 to 1, and `hue_jitter`, from 0 to 0.5.

    Returns:
        float32 (h, w, C), values 0 to 255.
    """
    colored = image.shape[-1] == 3
    widths = {
        brightness: settings.color_jitter,
        contrast: settings.color_jitter,
        saturation: settings.color_jitter if colored else 0.0,
        hue: settings.hue_jitter if colored else 0.0,
    }
    steps = [step for step, width in widths.items() if width]
    if not steps:
        return image
    image = tf.clip_by_value(image, 0.0, 255.0)  # bicubic crops overshoot
    draws = tf.random.stateless_uniform((len(steps), 2), seed, -1.0, 1.0)
    amounts = draws[:, 0] * [widths[step] for step in steps]
    order = tf.argsort(draws[:, 1])
    for place in range(len(steps)):
        image = _step(steps, order[place], amounts, image)
    return image


def brightness(image: tf.Tensor, amount: tf.Tensor):
    """Black mixed into it, or taken out of it."""
    return _blend(image, 0.0, amount)


def contrast(image: tf.Tensor, amount: tf.Tensor):
    """Its mean grey mixed into it, or taken out of it."""
    return _blend(image, tf.reduce_mean(_grey(image)), amount)


def saturation(image: tf.Tensor, amount: tf.Tensor):
    """Its own grey image mixed into it, or taken out of it."""
    return _blend(image, _grey(image), amount)


def hue(image: tf.Tensor, amount: tf.Tensor):
    """Each colour turned by that share of the colour circle."""
    return tf.image.adjust_hue(image, amount)


def _step(steps: list[Callable], number: tf.Tensor, amounts: tf.Tensor, image: tf.Tensor):
    """The image after that one of the steps."""
    branches = [lambda step=step, place=place: step(image, amounts[place]) for place, step in enumerate(steps)]
    return tf.switch_case(number, branches)


def _blend(image: tf.Tensor, other: tf.Tensor | float, amount: tf.Tensor):
    """(1 + amount) times the image, less amount times the other; amounts from -1 to 1, values clipped to 0 to 255."""
    return tf.clip_by_value(image + amount * (image - other), 0.0, 255.0)


def _grey(image: tf.Tensor):
    return tf.tensordot(image, LUMA, 1)[..., None] if image.shape[-1] == 3 else image
