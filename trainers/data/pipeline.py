"""Batches ready for replicas.

The global batch of step t, which examples it holds and how each is augmented, is a pure function of (seed, t). So a
resumed run, or one on other hardware, sees the same data, and no iterator is ever saved: the step is the position.

A batch is a dict: `images` float32 (B, H, W, C), `labels` int (B,) or float32 (B, Y), `weights` float32 (B,), 0 where
a row only fills up the batch, and `ids` int64 (B,), the examples' indices in their split.
"""

import tensorflow as tf

from keras_vit.preprocessing import Preprocessing
from trainers.data.augment import AUGMENTATIONS
from trainers.data.sources import Source


def preprocessing_for(settings) -> Preprocessing:
    """The test-time transform that a run's settings ask for, and its model will carry."""
    size = settings.image_size
    return Preprocessing(size=(size, size) if isinstance(size, int) else size)


def batches(
    source: Source, settings, start_step: int = 0, share: int = 0, shares: int = 1, rows: int | None = None
) -> tf.data.Dataset:
    """Endless training batches, from that of `start_step` on.

    Args:
        source: Opened source.
        settings: Needs train_split, image_size, batch_size, augment, shuffle and seed.
        start_step: Number of batches already consumed; skipping them costs nothing.
        share: Which part of each global batch to read, of
        shares: so many hosts.
        rows: Examples per batch of the result; the whole global batch if left out.
    """
    split = source.split(settings.train_split)
    preprocessing = preprocessing_for(settings)
    augment = AUGMENTATIONS[settings.augment]

    def example(position):
        index = example_index(position, split.size, settings.seed) if settings.shuffle else position % split.size
        image, label = split.read(index)
        row_seed = tf.stack([tf.constant(settings.seed, tf.int64), position])
        pixels = augment(image, row_seed, source.channels, preprocessing)
        return {"images": pixels, "labels": label, "weights": tf.ones(()), "ids": index}

    positions = _positions(start_step, None, settings.batch_size, share, shares)
    return _batched(positions, example, rows or settings.batch_size)


def evaluation_batches(
    source: Source,
    split_name: str,
    settings,
    share: int = 0,
    shares: int = 1,
    rows: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> tf.data.Dataset:
    """Every example of a split once, in order, the last batch filled up with rows of weight 0.

    Args:
        source: Opened source.
        split_name: Split, or part of one.
        settings: Needs batch_size, and image_size where no preprocessing is given.
        share: Which part of each global batch to read, of
        shares: so many hosts.
        rows: Examples per batch of the result; the whole global batch if left out.
        preprocessing: A model's own, instead of the settings'.
    """
    split = source.split(split_name)
    preprocessing = preprocessing or preprocessing_for(settings)

    def example(position):
        index = tf.minimum(position, split.size - 1)
        image, label = split.read(index)
        pixels = AUGMENTATIONS["none"](image, None, source.channels, preprocessing)
        weight = tf.cast(position < split.size, tf.float32)
        return {"images": pixels, "labels": label, "weights": weight, "ids": index}

    count = -(-split.size // settings.batch_size)
    positions = _positions(0, count, settings.batch_size, share, shares)
    return _batched(positions, example, rows or settings.batch_size)


def _positions(start: int, stop: int | None, batch_size: int, share: int, shares: int) -> tf.data.Dataset:
    """Positions in the endless sequence of examples that one host reads, for global batches `start` to `stop`."""
    rows = batch_size // shares
    numbers = tf.data.Dataset.range(start * rows, tf.int64.max if stop is None else stop * rows)
    return numbers.map(lambda number: number // rows * batch_size + share * rows + number % rows)


def _batched(positions: tf.data.Dataset, example, rows: int) -> tf.data.Dataset:
    examples = positions.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(rows, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def example_index(position, size: int, seed: int):
    """Index of the example at a position of the endless training sequence: a new permutation in every epoch."""
    epoch, offset = position // size, position % size
    epoch_seed = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch]), tf.uint32)
    return tf.random.experimental.index_shuffle(offset, epoch_seed, size - 1)
