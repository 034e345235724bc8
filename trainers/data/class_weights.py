"""Factors of the losses by class."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.source import Source, Split


def factor_of(choice: str, source: Source, split: Split) -> Callable[[tf.Tensor], tf.Tensor]:
    """From a label, int () or float32 (Y,), to the factor of its loss: of several classes the mean, of none 1.

    Args:
        choice: none, balanced, or NAME=NUMBER;NAME=NUMBER.
        source: The source, for its class names.
        split: What is trained on.

    Raises:
        UserError: if a class is unknown or a factor is no number above 0.
    """
    if choice == "none":
        return lambda label: tf.ones(())
    factors = _balanced(source, split) if choice == "balanced" else given(choice, source)
    with tf.device("CPU"):
        held = tf.constant(factors, tf.float32)

    def factor(label):
        if not label.shape.rank:
            return held[label]
        labels = tf.reduce_sum(label)
        return tf.where(labels > 0, tf.math.divide_no_nan(tf.reduce_sum(label * held), labels), 1.0)

    return factor


def _balanced(source: Source, split: Split) -> np.ndarray:
    """The rarer a class the larger its factor. With one label each, all classes weigh the same, and the mean is 1."""
    _, classes = split.positives()
    counts = np.bincount(classes, minlength=source.num_classes)
    present = max(np.count_nonzero(counts), 1)
    return np.where(counts, len(classes) / (present * np.maximum(counts, 1)), 0.0)


def given(choice: str, source: Source) -> np.ndarray:
    """The factors that NAME=NUMBER;NAME=NUMBER names, 1 for other classes.

    Raises:
        UserError: if a class is unknown or a factor is no number above 0.
    """
    factors = np.ones(source.num_classes)
    names = {name: number for number, name in enumerate(source.class_names or map(str, range(source.num_classes)))}
    for term in choice.split(";"):
        name, _, number = term.rpartition("=")
        try:
            factors[names[name]] = value = float(number)
        except (KeyError, ValueError):
            known = ", ".join([*names][:8]) + ", ..." * (len(names) > 8)
            raise UserError(
                f"--class_weights: {term!r} is not NAME=NUMBER with the name of a class; there are {known}."
            ) from None
        if not 0 < value < np.inf:
            raise UserError(f"--class_weights: the factor of {name!r} must be above 0; got {number}.")
    return factors
