"""Which example stands where in the endless training sequence: a pure function of (seed, position)."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.source import Split


def natural(split: Split, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A new permutation of all examples in every epoch."""
    return lambda position: shuffled(position, split.size, seed)


def balanced(split: Split, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Every class once in each round of as many positions as there are classes, in a new order each time.

    Each class goes through its own examples in permutations of its own. Classes without examples are left out.
    """
    examples, classes = split.positives()
    if not len(examples):
        raise UserError("--sampling=balanced needs examples that belong to classes; none here does.")
    order = np.argsort(classes, kind="stable")
    present, begins, counts = np.unique(classes[order], return_index=True, return_counts=True)
    with tf.device("CPU"):
        by_class, begins, counts = (tf.constant(array, tf.int64) for array in (examples[order], begins, counts))

    def example_index(position):
        number = shuffled(position, len(present), seed)
        # Another seed for each class, or classes of the same size would run in step.
        member = shuffled(position // len(present), counts[number], seed, salt=number + 1)
        return by_class[begins[number] + member]

    return example_index


def shuffled(position, size, seed: int, salt=0):
    """The member of a set of `size` at a position of its endless sequence: a new permutation in every round.

    Sets with different salts are shuffled independently.
    """
    size = tf.cast(size, tf.int64)
    turn, offset = position // size, position % size
    salted = tf.constant(seed, tf.int64) + tf.cast(salt, tf.int64) * 2654435761  # spreads small numbers over 32 bits
    return tf.random.experimental.index_shuffle(offset, tf.cast(tf.stack([salted, turn]), tf.uint32), size - 1)


SAMPLINGS = {"natural": natural, "balanced": balanced}
