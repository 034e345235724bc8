"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019): rows of a batch mixed with their neighbours, labels alike.

As in big_vision, the partner of each row is the one before it in the global batch, and all rows share one draw.
"""

import tensorflow as tf


def mixes(settings) -> bool:
    """Whether rows are mixed at all."""
    return bool(settings.mixup or settings.cutmix)


def mix(rows, seed, num_classes: int, settings):
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
    images, share = _mixed(rows["images"][1:], rows["images"][:-1], seed, settings)
    kept = tf.where(both, share, 1.0)
    own, other = kept * rows["weights"][1:], (1.0 - kept) * rows["weights"][:-1]
    labels = rows["labels"]
    targets = tf.one_hot(labels, num_classes) if labels.dtype.is_integer else labels
    weights = own + other
    mixed = own[:, None] * targets[1:] + other[:, None] * targets[:-1]
    return {
        "images": tf.where(both[:, None, None, None], images, rows["images"][1:]),
        "labels": tf.math.divide_no_nan(mixed, weights[:, None]),
        "weights": weights,
        "ids": rows["ids"][1:],
    }


def _mixed(images, partners, seed, settings):
    """Mixed images, and the share of each that is its own."""
    if not settings.cutmix:
        return _mixup(images, partners, seed, settings.mixup)
    if not settings.mixup:
        return _cutmix(images, partners, seed, settings.cutmix)
    return tf.cond(
        tf.random.stateless_uniform((), tf.random.fold_in(seed, 0)) < 0.5,
        lambda: _mixup(images, partners, seed, settings.mixup),
        lambda: _cutmix(images, partners, seed, settings.cutmix),
    )


def _mixup(images, partners, seed, concentration: float):
    share = beta(seed, concentration)
    share = tf.maximum(share, 1.0 - share)  # so that a row stays more itself than its partner
    return share * images + (1.0 - share) * partners, share


def _cutmix(images, partners, seed, concentration: float):
    """A rectangle of the image's aspect, its centre anywhere; the share is what the rectangle leaves."""
    sides = images.shape[1:3].as_list()
    size = tf.constant(sides, tf.float32)
    extent = tf.floor(size * tf.sqrt(1.0 - beta(seed, concentration)))
    centre = tf.floor(size * tf.random.stateless_uniform((2,), tf.random.fold_in(seed, 1)))
    begin = centre - tf.floor(extent / 2)
    inside = [
        (tf.range(length, dtype=tf.float32) >= begin[axis])
        & (tf.range(length, dtype=tf.float32) < begin[axis] + extent[axis])
        for axis, length in enumerate(sides)
    ]
    pasted = (inside[0][:, None] & inside[1][None, :])[:, :, None]
    return tf.where(pasted, partners, images), 1.0 - tf.reduce_mean(tf.cast(pasted, tf.float32))


def beta(seed, concentration: float):
    """float32 scalar from Beta(concentration, concentration)."""
    # In float64, because in float32 gamma variates of small concentration vanish, often both.
    draws = tf.random.stateless_gamma((2,), tf.random.fold_in(seed, 2), concentration, dtype=tf.float64)
    return tf.cast(draws[0] / (draws[0] + draws[1]), tf.float32)
