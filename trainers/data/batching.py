"""The endless sequence of examples, and one host's part of it: batches read in parallel, without the rows that fail.

Which example stands where is a pure function of (seed, position).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers import machine
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

    def example_index(position: tf.Tensor):
        number = shuffled(position, len(present), seed)
        # Another seed for each class, or classes of the same size would run in step.
        member = shuffled(position // len(present), counts[number], seed, salt=number + 1)
        return by_class[begins[number] + member]

    return example_index


def shuffled(position: tf.Tensor, size: tf.Tensor | int, seed: int, salt: tf.Tensor | int = 0):
    """The member of a set of `size` at a position of its endless sequence: a new permutation in every round.

    Sets with different salts are shuffled independently.
    """
    size = tf.cast(size, tf.int64)
    turn, offset = position // size, position % size
    salted = tf.constant(seed, tf.int64) + tf.cast(salt, tf.int64) * 2654435761  # spreads small numbers over 32 bits
    return tf.random.experimental.index_shuffle(offset, tf.cast(tf.stack([salted, turn]), tf.uint32), size - 1)


class Part(NamedTuple):
    """The rows of each global batch that one host reads, `share` of `shares` in order, in batches of `rows`.

    With `neighbours`, each of its batches begins with so many rows more: those before its own in the global batch, of
    which the last comes before the first.
    """

    batch_size: int
    share: int
    shares: int
    rows: int
    neighbours: int = 0

    @property
    def read(self) -> int:
        """Rows read for one of the host's batches."""
        return self.rows + self.neighbours

    def batches(self, start: int, stop: int | None) -> tuple[int, int]:
        """First and last number, exclusive, of the host's batches in global batches `start` to `stop`."""
        per_step = self.batch_size // self.shares // self.rows
        # Whole batches, and far enough from the largest int64 for the numbers of their rows.
        return start * per_step, 2**40 if stop is None else stop * per_step

    def step(self, batch: tf.Tensor):
        """The global batch that the host's batch is part of."""
        return batch * self.rows // (self.batch_size // self.shares)

    def position(self, batch: tf.Tensor, place: tf.Tensor):
        """Where a row of the host's batch is in the endless sequence of examples."""
        of_host = self.batch_size // self.shares
        row = self.share * of_host + batch * self.rows % of_host + place - self.neighbours
        return self.step(batch) * self.batch_size + row % self.batch_size


def batches(
    row: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    index_of: Callable[[tf.Tensor], tf.Tensor],
    note: Callable[[np.ndarray], np.ndarray] | None,
    part: Part,
    start: int,
    stop: int | None,
) -> tf.data.Dataset:
    """One host's part of global batches `start` to `stop`, with the neighbours that it asks for.

    Args:
        row: Function from a position in the endless sequence of examples to a row.
        index_of: Function from a position to the example's index.
        note: Function that is told the indices of rows that failed, which get weight 0; None where none can.
    """
    first, last = part.batches(start, stop)
    if note is None:
        rows = tf.data.Dataset.range(first * part.read, last * part.read).map(
            lambda number: row(part.position(number // part.read, number % part.read)),
            tf.data.AUTOTUNE,
            deterministic=True,
        )
        return rows.batch(part.read, drop_remainder=True)
    # Two at a time, so that nobody idles while the last rows of one are decoded.
    return tf.data.Dataset.range(first, last).map(
        lambda number: _batch(row, index_of, note, part, number), 2, deterministic=True
    )


def _batch(
    row: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    index_of: Callable[[tf.Tensor], tf.Tensor],
    note: Callable[[np.ndarray], np.ndarray] | None,
    part: Part,
    number: tf.Tensor,
):
    """The host's batch of that number; rows that fail are zeros, but for their ids."""
    places = tf.data.Dataset.range(part.read)
    # A dataset that lives for one batch is too short-lived for tf.data to tune.
    read = places.map(lambda place: (place, row(part.position(number, place))), machine.cpus(), deterministic=True)
    empty = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), read.element_spec)
    # With one more row there is always something to batch.
    read_places, values = (
        read.ignore_errors().concatenate(tf.data.Dataset.from_tensors(empty)).batch(part.read + 1).get_single_element()
    )

    def mended():
        filled = {name: _placed(read_places[:-1], value[:-1], part.read) for name, value in values.items()}
        present = _placed(read_places[:-1], tf.ones_like(read_places[:-1]), part.read)
        missing = tf.where(present == 0)[:, 0]
        indices = tf.map_fn(lambda place: index_of(part.position(number, place)), missing)
        noted = tf.ensure_shape(tf.numpy_function(note, [indices], tf.int64), (None,))
        return filled | {"ids": tf.tensor_scatter_nd_update(filled["ids"], missing[:, None], noted)}

    all_there = tf.equal(tf.size(read_places), part.read + 1)
    batch = tf.cond(all_there, lambda: {name: value[:-1] for name, value in values.items()}, mended)
    return {name: tf.ensure_shape(value, (part.read, *value.shape[1:])) for name, value in batch.items()}


def _placed(places: tf.Tensor, values: tf.Tensor, rows: int):
    """Zeros (rows, ...), with each value in its place."""
    return tf.scatter_nd(places[:, None], values, tf.concat([[rows], tf.shape(values, tf.int64)[1:]], axis=0))


# From a split and a seed to what gives the example's index at a position.
SAMPLINGS = {"natural": natural, "balanced": balanced}
