"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): rows of a batch mixed with their neighbours, labels alike.

As in big_vision, the partner of each row is the one before it in the global batch, and all rows share one draw.
"""

import tensorflow as tf

from trainers import machine
from trainers.settings.augmentation import AugmentationSettings


def mixes(settings: AugmentationSettings) -> bool:
    """Whether rows are mixed at all."""
    return bool(settings.mixup or settings.cutmix)


def mix(rows: dict[str, tf.Tensor], seed: tf.Tensor, num_classes: int, settings: AugmentationSettings):
    """Mixes each row but the first with the one before it; the first is there for that only.

    A row that could not be read, its weight being 0, is left out, and so is mixing with it. Where classes have factors,
    the result's loss is the mean of the two examples' losses, each times its factor.

    Args:
        rows: Dict with images (k + 1, h, w, C), labels (k + 1,) or (k + 1, Y), weights (k + 1,) and ids (k + 1,).
        seed: int64 (2,), of the global batch.
        num_classes: Y.
        settings: Needs mixup and cutmix, at least one of them above 0.

    Returns:
        Dict of k rows; labels are float32 (k, Y).
    """
    both = (rows["weights"][1:] > 0) & (rows["weights"][:-1] > 0)
    shares, share = _shares(rows["images"].shape[1:3].as_list(), seed, settings)
    own_share = tf.where(both, share, 1.0)
    own, other = own_share * rows["weights"][1:], (1.0 - own_share) * rows["weights"][:-1]
    labels = rows["labels"]
    targets = tf.one_hot(labels, num_classes) if labels.dtype.is_integer else labels
    weights = own + other
    mixed = own[:, None] * targets[1:] + other[:, None] * targets[:-1]
    return {
        "images": _each_mixed(rows["images"], both, shares),
        "labels": tf.math.divide_no_nan(mixed, weights[:, None]),
        "weights": weights,
        "ids": rows["ids"][1:],
    }


def _each_mixed(images: tf.Tensor, both: tf.Tensor, share: tf.Tensor):
    """Each image but the first mixed with the one before it.

    One by one, because what comes in between then stays in the processor's cache; in parallel by tf.data.

    Args:
        images: (k + 1, h, w, C).
        both: bool (k,), which are to be mixed.
        share: (h, w, 1) or (1, 1, 1): share of each pixel that is to be the image's own.
    """

    def one(place: tf.Tensor):
        own = tf.where(both[place], share, 1.0)
        return own * images[place + 1] + (1.0 - own) * images[place]

    count = images.shape[0] - 1
    mixed = tf.data.Dataset.range(count).map(one, machine.cpus(), deterministic=True)
    return mixed.batch(count, drop_remainder=True).get_single_element()


def _shares(size: list[int], seed: tf.Tensor, settings: AugmentationSettings):
    """How much of each pixel (h, w, 1) or (1, 1, 1) is an image's own, and how much of the image, a scalar."""
    if not settings.cutmix:
        return _mixup(seed, settings.mixup)
    if not settings.mixup:
        return _cutmix(size, seed, settings.cutmix)
    pixels, share = tf.cond(
        tf.random.stateless_uniform((), tf.random.fold_in(seed, 0)) < 0.5,
        lambda: _everywhere(size, *_mixup(seed, settings.mixup)),
        lambda: _cutmix(size, seed, settings.cutmix),
    )
    return pixels, share


def _everywhere(size: list[int], pixels: tf.Tensor, share: tf.Tensor):
    return tf.broadcast_to(pixels, (*size, 1)), share


def _mixup(seed: tf.Tensor, concentration: float):
    share = beta(seed, concentration)
    share = tf.maximum(share, 1.0 - share)  # so that a row stays more itself than its partner
    return tf.reshape(share, (1, 1, 1)), share


def _cutmix(sides: list[int], seed: tf.Tensor, concentration: float):
    """A rectangle of the image's aspect, its centre anywhere; the share is what the rectangle leaves."""
    size = tf.constant(sides, tf.float32)
    extent = tf.floor(size * tf.sqrt(1.0 - beta(seed, concentration)))
    centre = tf.floor(size * tf.random.stateless_uniform((2,), tf.random.fold_in(seed, 1)))
    begin = centre - tf.floor(extent / 2)
    inside = [
        (tf.range(length, dtype=tf.float32) >= begin[axis])
        & (tf.range(length, dtype=tf.float32) < begin[axis] + extent[axis])
        for axis, length in enumerate(sides)
    ]
    pasted = tf.cast((inside[0][:, None] & inside[1][None, :])[:, :, None], tf.float32)
    return 1.0 - pasted, 1.0 - tf.reduce_mean(pasted)


def beta(seed: tf.Tensor, concentration: float):
    """float32 scalar from Beta(concentration, concentration)."""
    # In float64, because in float32 gamma variates of small concentration vanish, often both.
    draws = tf.random.stateless_gamma((2,), tf.random.fold_in(seed, 2), concentration, dtype=tf.float64)
    return tf.cast(draws[0] / (draws[0] + draws[1]), tf.float32)
