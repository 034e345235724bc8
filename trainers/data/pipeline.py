"""Batches ready for replicas.

The global batch of step t, which examples it holds and how each is augmented, is a pure function of (seed, t). So a
resumed run, or one on other hardware, sees the same data, and no iterator is ever saved: the step is the position.

A batch is a dict: `images` float32 (B, H, W, C), `labels` int (B,) or float32 (B, Y), `weights` float32 (B,), 0 where
a row only fills up the batch, and `ids` int64 (B,), the examples' indices in their split.
"""

import tensorflow as tf

from keras_vit.preprocessing import Preprocessing
from trainers.data.augment import AUGMENTATIONS
from trainers.data.sources import Source, Split


def preprocessing_for(settings) -> Preprocessing:
    """The test-time transform that a run's settings ask for, and its model will carry."""
    size = settings.image_size
    return Preprocessing(size=(size, size) if isinstance(size, int) else size)


def batches(source: Source, settings, start_step: int = 0) -> tf.data.Dataset:
    """Endless training batches, from that of `start_step` on.

    Args:
        source: Opened source.
        settings: Needs train_split, image_size, batch_size, augment, shuffle and seed.
        start_step: Number of batches already consumed; skipping them costs nothing.
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

    positions = tf.data.Dataset.range(start_step * settings.batch_size, tf.int64.max)
    examples = positions.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(settings.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(source: Source, split_name: str, settings) -> tf.data.Dataset:
    """Every example of a split once, in order, the last batch filled up with rows of weight 0."""
    split = source.split(split_name)
    preprocessing = preprocessing_for(settings)
    return evaluation_dataset(split, source.channels, preprocessing, settings.batch_size)


def evaluation_dataset(split: Split, channels: int, preprocessing: Preprocessing, batch_size: int) -> tf.data.Dataset:
    """As `evaluation_batches`, for a model's own preprocessing."""

    def example(position):
        index = tf.minimum(position, split.size - 1)
        image, label = split.read(index)
        pixels = AUGMENTATIONS["none"](image, None, channels, preprocessing)
        weight = tf.cast(position < split.size, tf.float32)
        return {"images": pixels, "labels": label, "weights": weight, "ids": index}

    rows = -(-split.size // batch_size) * batch_size
    examples = tf.data.Dataset.range(rows).map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def example_index(position, size: int, seed: int):
    """Index of the example at a position of the endless training sequence: a new permutation in every epoch."""
    epoch, offset = position // size, position % size
    epoch_seed = tf.cast(tf.stack([tf.constant(seed, tf.int64), epoch]), tf.uint32)
    return tf.random.experimental.index_shuffle(offset, epoch_seed, size - 1)
