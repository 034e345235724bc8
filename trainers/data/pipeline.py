"""Batches ready for replicas.

The global batch of step t, which examples it holds and how each is augmented, is a pure function of (seed, t). So a
resumed run, or one on other hardware, sees the same data, and no iterator is ever saved: the step is the position.

A batch is a dict: `images` float32 (B, H, W, C), `labels` int (B,) or float32 (B, Y), `weights` float32 (B,), 0 where
a row only fills up the batch or its image could not be read, and `ids` int64 (B,), the examples' indices in the split.
"""

import tensorflow as tf

from keras_vit.export import preprocessing as test_time
from keras_vit.preprocessing import Preprocessing
from trainers.data import augment, cache, class_weights, images, order
from trainers.data.attempt import attempt
from trainers.data.bad_images import Row
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
        settings: Needs batch_size, seed, image_size, and the fields of `DataSettings`.
    """

    def __init__(self, source: Source, settings):
        self._uncached = training_split(source, settings)
        self._split = cache.kept(self._uncached, settings.cache)
        self._source = source
        self._settings = settings
        self._preprocessing = preprocessing_for(settings)
        self._factor_of = class_weights.factor_of(settings.class_weights, source, self._split)
        self._index_of = order.SAMPLINGS[settings.sampling](self._split, settings.seed)
        self._row = apart(self._read)
        self._guarded = source.bad.guarded(
            settings.train_split, self._uncached, source.channels, self._row, self._index
        )

    def batches(self, start_step: int = 0, share: int = 0, shares: int = 1, rows: int | None = None) -> tf.data.Dataset:
        """Endless batches, from that of `start_step` on.

        Args:
            start_step: Number of batches already consumed; skipping them costs nothing.
            share: Which part of each global batch to read, of
            shares: so many hosts.
            rows: Examples per batch of the result; the whole global batch if left out.
        """
        return _batches(self._row, self._guarded, start_step, None, self._settings.batch_size, share, shares, rows)

    @property
    def element_spec(self):
        return self.batches().element_spec

    def _index(self, position):
        return self._index_of(position) if self._settings.shuffle else position % self._split.size

    def _read(self, position):
        index = self._index(position)
        image, label = self._split.read(index)
        seed = tf.stack([tf.constant(self._settings.seed, tf.int64), position])
        pixels = augment.augment(image, seed, self._source.channels, self._preprocessing, self._settings)
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
        self._row = apart(self._read)
        self._guarded = source.bad.guarded(expression, split, source.channels, self._row, self._index)

    def batches(self, share: int = 0, shares: int = 1, rows: int | None = None) -> tf.data.Dataset:
        """The batches, or one host's part of them; the arguments are those of `TrainingData.batches`."""
        count = -(-self._split.size // self._batch_size)
        return _batches(self._row, self._guarded, 0, count, self._batch_size, share, shares, rows)

    def _index(self, position):
        return tf.minimum(position, self._split.size - 1)

    def _read(self, position):
        index = self._index(position)
        image, label = self._split.read(index)
        pixels = test_time.transform(images.decode(image, self._source.channels), self._preprocessing)
        weight = tf.cast(position < self._split.size, tf.float32)
        return {"images": pixels, "labels": label, "weights": weight, "ids": index}


def apart(function):
    """The function as one operation of the graphs that call it, which are several for each row."""
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def _batches(
    row: Row,
    guarded: Row | None,
    start: int,
    stop: int | None,
    batch_size: int,
    share: int,
    shares: int,
    rows: int | None,
) -> tf.data.Dataset:
    """One host's part of global batches `start` to `stop`, in batches of `rows`.

    Args:
        row: From a position in the endless sequence of examples to a row.
        guarded: The same for batches in which a row failed; None where none can.
    """
    rows, of_host = rows or batch_size, batch_size // shares

    def position(number):
        return number // of_host * batch_size + share * of_host + number % of_host

    def batch_by(row):
        def batch(number):
            numbers = tf.data.Dataset.range(number * rows, (number + 1) * rows)
            return _mapped(numbers, lambda number: row(position(number)), rows).get_single_element()

        return batch

    if guarded is None:
        last = tf.int64.max if stop is None else stop * of_host
        numbers = tf.data.Dataset.range(start * of_host, last)
        return _mapped(numbers, lambda number: row(position(number)), rows).prefetch(tf.data.AUTOTUNE)
    # Whole batches are tried: an attempt for each row would cost as much as decoding a small image.
    last = tf.int64.max if stop is None else stop * of_host // rows
    numbers = tf.data.Dataset.range(start * of_host // rows, last)
    tried = numbers.map(
        lambda number: attempt(batch_by(row), batch_by(guarded), number), num_parallel_calls=2, deterministic=True
    )
    return tried.prefetch(tf.data.AUTOTUNE)


def _mapped(numbers: tf.data.Dataset, row: Row, rows: int) -> tf.data.Dataset:
    examples = numbers.map(row, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(rows, drop_remainder=True)
