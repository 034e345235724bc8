"""Factors of the losses by class."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.source import Source, Split


def factor_of(weights: str | Mapping[str, float], split: Split) -> Callable[[tf.Tensor], tf.Tensor]:
    """From a label, int () or float32 (Y,), to the factor of its loss: of several classes the mean, of none 1.

    Args:
        weights: `none`, `balanced`, or factors by the names of classes, 1 for the others.
        split: Split that is trained on.

    Raises:
        UserError: if a class is unknown.
    """
    if weights == "none":
        return lambda label: tf.ones(())
    factors = _balanced(split) if isinstance(weights, str) else named(weights, split)
    with tf.device("CPU"):
        held = tf.constant(factors, tf.float32)

    def factor(label: tf.Tensor):
        if not label.shape.rank:
            return held[label]
        labels = tf.reduce_sum(label)
        return tf.where(labels > 0, tf.math.divide_no_nan(tf.reduce_sum(label * held), labels), 1.0)

    return factor


def _balanced(split: Split) -> np.ndarray:
    """The rarer a class the larger its factor. With one label each, all classes weigh the same, and the mean is 1."""
    _, classes = split.positives()
    counts = np.bincount(classes, minlength=split.num_classes)
    present = max(np.count_nonzero(counts), 1)
    return np.where(counts, len(classes) / (present * np.maximum(counts, 1)), 0.0)


def named(factors: Mapping[str, float], classes: Source | Split) -> np.ndarray:
    """The factors of classes by their names, 1 for other classes.

    Raises:
        UserError: if a class is unknown.
    """
    names = classes.class_names or [*map(str, range(classes.num_classes))]
    for name, factor in factors.items():
        if name not in names:
            known = ", ".join(names[:8]) + ", ..." * (len(names) > 8)
            raise UserError(
                f"--class_weights: '{name}={factor:g}' is not NAME=NUMBER with the name of a class; there are {known}."
            )
    return np.array([factors.get(name, 1.0) for name in names])
