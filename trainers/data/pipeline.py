"""Batches ready for replicas.

The global batch of step t, which examples it holds and how each is augmented, is a pure function of (seed, t). So a
resumed run, or one on other hardware, sees the same data, and no iterator is ever saved: the step is the position.

A batch is a dict: `images` float32 (B, H, W, C), `labels` int (B,) or float32 (B, Y), `weights` float32 (B,), 0 where
a row only fills up the batch or its image could not be read, and `ids` int64 (B,), the examples' indices in the split.
Mixed rows have the id of their own example, not of the one mixed into it, and labels (B, Y).
"""

import tensorflow as tf

from keras_vit.images import transform
from keras_vit.preprocessing import Preprocessing
from trainers.data import batching, cache, class_weights, images, order
from trainers.data.augmentation import mixing, recipe
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
        UserError: if there is no such split, or the subset is larger.
    """
    split = source.split(settings.train_split)
    return subset(split, settings.subset) if settings.subset else split


class TrainingData:
    """What a run trains on.

    Args:
        source: Opened source.
        settings: Needs batch_size, seed, image_size, and the fields of `DataSettings` and `AugmentationSettings`.
        preprocessing: The model's test-time transform; what the settings ask for if left out.
    """

    def __init__(self, source: Source, settings, preprocessing: Preprocessing | None = None):
        self._uncached = training_split(source, settings)
        self._split = cache.kept(self._uncached, settings.cache)
        self._source = source
        self._settings = settings
        self._preprocessing = preprocessing or preprocessing_for(settings)
        recipe.check(self._preprocessing, source.channels, settings)
        self._factor_of = class_weights.factor_of(settings, source, self._split)
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
        mixes = mixing.mixes(self._settings)
        part = batching.Part(self._settings.batch_size, share, shares, rows or self._settings.batch_size, int(mixes))
        batches = batching.batches(self._row, self._index, self._note, part, start_step, None)
        if mixes:
            numbered = tf.data.Dataset.zip(tf.data.Dataset.range(*part.batches(start_step, None)), batches)
            batches = numbered.map(lambda number, rows: self._mix(part.step(number), rows), 2, deterministic=True)
        return batches.prefetch(tf.data.AUTOTUNE)

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

    def _mix(self, step, rows):
        # No row has this seed: their positions are not negative.
        seed = tf.stack([tf.constant(self._settings.seed, tf.int64), -1 - step])
        return mixing.mix(rows, seed, self._source.num_classes, self._settings)


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
        part = batching.Part(self._batch_size, share, shares, rows or self._batch_size)
        return batching.batches(self._row, self._index, self._note, part, 0, count).prefetch(tf.data.AUTOTUNE)

    def _index(self, position):
        return tf.minimum(position, self._split.size - 1)

    def _row(self, position):
        index = self._index(position)
        image, label = self._split.read(index)
        pixels = transform.apply(images.decode(image, self._source.channels), self._preprocessing)
        weight = tf.cast(position < self._split.size, tf.float32)
        return {"images": pixels, "labels": label, "weights": weight, "ids": index}
