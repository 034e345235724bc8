"""One host's part of every global batch, read in parallel, with the rows that fail left out."""

from typing import NamedTuple

import tensorflow as tf

from trainers import machine


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

    def step(self, batch):
        """The global batch that the host's batch is part of."""
        return batch * self.rows // (self.batch_size // self.shares)

    def position(self, batch, place):
        """Where a row of the host's batch is in the endless sequence of examples."""
        of_host = self.batch_size // self.shares
        row = self.share * of_host + batch * self.rows % of_host + place - self.neighbours
        return self.step(batch) * self.batch_size + row % self.batch_size


def batches(row, index_of, note, part: Part, start: int, stop: int | None) -> tf.data.Dataset:
    """One host's part of global batches `start` to `stop`, with the neighbours that it asks for.

    Args:
        row: From a position in the endless sequence of examples to a row.
        index_of: From a position to the example's index.
        note: Told the indices of rows that failed, which get weight 0; None where none can.
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


def _batch(row, index_of, note, part: Part, number):
    """The host's batch of that number; rows that fail are zeros, but for their ids."""
    places = tf.data.Dataset.range(part.read)
    # A dataset that lives for one batch is too short-lived for tf.data to tune.
    read = places.map(lambda place: (place, row(part.position(number, place))), machine.cpus(), deterministic=True)
    empty = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), read.element_spec)
    # With one more row there is always something to batch.
    found, values = (
        read.ignore_errors().concatenate(tf.data.Dataset.from_tensors(empty)).batch(part.read + 1).get_single_element()
    )

    def mended():
        filled = {name: _placed(found[:-1], value[:-1], part.read) for name, value in values.items()}
        present = _placed(found[:-1], tf.ones_like(found[:-1]), part.read)
        missing = tf.where(present == 0)[:, 0]
        indices = tf.map_fn(lambda place: index_of(part.position(number, place)), missing)
        noted = tf.ensure_shape(tf.numpy_function(note, [indices], tf.int64), (None,))
        return filled | {"ids": tf.tensor_scatter_nd_update(filled["ids"], missing[:, None], noted)}

    all_there = tf.equal(tf.size(found), part.read + 1)
    batch = tf.cond(all_there, lambda: {name: value[:-1] for name, value in values.items()}, mended)
    return {name: tf.ensure_shape(value, (part.read, *value.shape[1:])) for name, value in batch.items()}


def _placed(places, values, rows: int):
    """Zeros (rows, ...), with each value in its place."""
    return tf.scatter_nd(places[:, None], values, tf.concat([[rows], tf.shape(values, tf.int64)[1:]], axis=0))
