"""Batches ready for replicas.

The global batch of step t, which examples it holds and how each is augmented, is a pure function of (seed, t). So a
resumed run, or one on other hardware, sees the same data, and no iterator is ever saved: the step is the position.

A batch is a dict: `images` float32 (B, H, W, C), `labels` int (B,) or float32 (B, Y), `weights` float32 (B,), 0 where
a row only fills up the batch or its image could not be read, and `ids` int64 (B,), the examples' indices in the split.
"""

import os
from typing import NamedTuple

import tensorflow as tf

from keras_vit.export import preprocessing as test_time
from keras_vit.preprocessing import Preprocessing
from trainers.data import cache, class_weights, images, order
from trainers.data.augmentation import recipe
from trainers.data.source import Source, Split, subset


def preprocessing_for(settings) -> Preprocessing:
    """The test-time transform that a run's settings ask for, and its model will carry."""
    size = settings.image_size
    return Preprocessing(
        size=(size, size) if isinstance(size, int) else size,
        resize=settings.resize,
        antialias=settings.antialias,
        crop=settings.test_crop,
    )


def training_split(source: Source, settings) -> Split:
    """What one epoch goes through.

    Raises:
        ValueError: if there is no such split, or the subset is larger.
    """
    split = source.split(settings.train_split)
    return subset(split, settings.subset) if settings.subset else split


class TrainingData:
    """What a run trains on.

    Args:
        source: Opened source.
        settings: Needs batch_size, seed, image_size, and the fields of `DataSettings` and `AugmentationSettings`.
    """

    def __init__(self, source: Source, settings):
        self._uncached = training_split(source, settings)
        self._split = cache.kept(self._uncached, settings.cache)
        self._source = source
        self._settings = settings
        self._preprocessing = preprocessing_for(settings)
        self._factor_of = class_weights.factor_of(settings.class_weights, source, self._split)
        self._index_of = order.SAMPLINGS[settings.sampling](self._split, settings.seed)
        self._note = source.bad.watch(settings.train_split, self._uncached, source.channels)

    def batches(self, start_step: int = 0, share: int = 0, shares: int = 1, rows: int | None = None) -> tf.data.Dataset:
        """Endless batches, from that of `start_step` on.

        Args:
            start_step: Number of batches already consumed; skipping them costs nothing.
            share: Which part of each global batch to read, of
            shares: so many hosts.
            rows: Examples per batch of the result; the whole global batch if left out.
        """
        rows = rows or self._settings.batch_size
        part = _Part(self._settings.batch_size, share, shares, rows)
        return _batches(self._row, self._index, self._note, part, start_step, None)

    @property
    def element_spec(self):
        return self.batches().element_spec

    def _index(self, position):
        return self._index_of(position) if self._settings.shuffle else position % self._split.size

    def _row(self, position):
        index = self._index(position)
        image, label = self._split.read(index)
        seed = tf.stack([tf.constant(self._settings.seed, tf.int64), position])
        pixels = recipe.augment(image, seed, self._source.channels, self._preprocessing, self._settings)
        return {"images": pixels, "labels": label, "weights": self._factor_of(label), "ids": index}


class EvaluationData:
    """Every example of a split once, in order, the last batch filled up with rows of weight 0.

    Args:
        source: Opened source.
        expression: Split, or part of one.
        batch_size: Global batch size.
        preprocessing: The model's test-time transform.
        keep: Key of `CACHES`.
    """

    def __init__(self, source: Source, expression: str, batch_size: int, preprocessing: Preprocessing, keep="none"):
        split = source.split(expression)
        self._split = cache.kept(split, keep)
        self._source = source
        self._batch_size = batch_size
        self._preprocessing = preprocessing
        self._note = source.bad.watch(expression, split, source.channels)

    def batches(self, share: int = 0, shares: int = 1, rows: int | None = None) -> tf.data.Dataset:
        """The batches, or one host's part of them; the arguments are those of `TrainingData.batches`."""
        count = -(-self._split.size // self._batch_size)
        part = _Part(self._batch_size, share, shares, rows or self._batch_size)
        return _batches(self._row, self._index, self._note, part, 0, count)

    def _index(self, position):
        return tf.minimum(position, self._split.size - 1)

    def _row(self, position):
        index = self._index(position)
        image, label = self._split.read(index)
        pixels = test_time.transform(images.decode(image, self._source.channels), self._preprocessing)
        weight = tf.cast(position < self._split.size, tf.float32)
        return {"images": pixels, "labels": label, "weights": weight, "ids": index}


class _Part(NamedTuple):
    """The rows of each global batch that one host reads, `share` of `shares` in order, in batches of `rows`."""

    batch_size: int
    share: int
    shares: int
    rows: int

    def numbers(self, start: int, stop: int | None) -> tuple[int, int]:
        """First and last number, exclusive, of the host's rows in global batches `start` to `stop`."""
        of_host = self.batch_size // self.shares
        return start * of_host, tf.int64.max if stop is None else stop * of_host

    def position(self, number):
        """Where the host's row of that number is in the endless sequence of examples."""
        of_host = self.batch_size // self.shares
        return number // of_host * self.batch_size + self.share * of_host + number % of_host


def _batches(row, index_of, note, part: _Part, start: int, stop: int | None) -> tf.data.Dataset:
    """One host's part of global batches `start` to `stop`.

    Args:
        row: From a position in the endless sequence of examples to a row.
        index_of: From a position to the example's index.
        note: Told the indices of rows that failed, which get weight 0; None where none can.
    """
    first, last = part.numbers(start, stop)
    if note is None:
        numbers = tf.data.Dataset.range(first, last)
        rows = numbers.map(lambda number: row(part.position(number)), tf.data.AUTOTUNE, deterministic=True)
        return rows.batch(part.rows, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    whole = tf.data.Dataset.range(first // part.rows, last // part.rows if stop is not None else last)
    # Two at a time, so that nobody idles while the last rows of one are decoded.
    batches = whole.map(lambda number: _batch(row, index_of, note, part, number), 2, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def _batch(row, index_of, note, part: _Part, number):
    """The host's batch of that number; rows that fail are zeros, but for their ids."""
    first = number * part.rows
    places = tf.data.Dataset.range(part.rows)
    # A dataset that lives for one batch is too short-lived for tf.data to tune.
    read = places.map(lambda place: (place, row(part.position(first + place))), CPUS, deterministic=True)
    empty = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), read.element_spec)
    # With one more row there is always something to batch.
    found, values = (
        read.ignore_errors().concatenate(tf.data.Dataset.from_tensors(empty)).batch(part.rows + 1).get_single_element()
    )

    def mended():
        filled = {name: _placed(found[:-1], value[:-1], part.rows) for name, value in values.items()}
        present = _placed(found[:-1], tf.ones_like(found[:-1]), part.rows)
        missing = tf.where(present == 0)[:, 0]
        indices = tf.map_fn(lambda place: index_of(part.position(first + place)), missing)
        noted = tf.ensure_shape(tf.numpy_function(note, [indices], tf.int64), (None,))
        return filled | {"ids": tf.tensor_scatter_nd_update(filled["ids"], missing[:, None], noted)}

    all_there = tf.equal(tf.size(found), part.rows + 1)
    batch = tf.cond(all_there, lambda: {name: value[:-1] for name, value in values.items()}, mended)
    return {name: tf.ensure_shape(value, (part.rows, *value.shape[1:])) for name, value in batch.items()}


def _placed(places, values, rows: int):
    """Zeros (rows, ...), with each value in its place."""
    return tf.scatter_nd(places[:, None], values, tf.concat([[rows], tf.shape(values, tf.int64)[1:]], axis=0))


# Not os.cpu_count(), which counts what a container may not use.
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
