"""Batches ready for replicas.

The global batch of step t, which examples it holds and how each is augmented, is a pure function of (seed, t). So a
resumed run, or one on other hardware, sees the same data, and no iterator is ever saved: the step is the position.

A batch is a dict: `images` float32 (B, H, W, C), `labels` int (B,) or float32 (B, Y), `weights` float32 (B,), 0 where
a row only fills up the batch or its image could not be read, and `ids` int64 (B,), the examples' indices in the split.
Mixed rows have the id of their own example, not of the one mixed into it, and labels (B, Y).
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from keras_vit.images import transform
from keras_vit.preprocessing import Preprocessing
from trainers.data import batching, cache, class_weights, images
from trainers.data.augmentation import mixing, recipe
from trainers.data.source import Split
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.data import DataSettings


def preprocessing_for(image_size: int | tuple[int, int], settings: DataSettings) -> Preprocessing:
    """The test-time transform that a run's settings ask for, and its model will carry."""
    return Preprocessing(
        size=(image_size, image_size) if isinstance(image_size, int) else image_size,
        resize=settings.resize,
        antialias=settings.antialias,
        crop=settings.test_crop,
    )


class TrainingData:
    """What a run trains on.

    Args:
        split: Split that one epoch goes through.
        batch_size: Global batch size.
        preprocessing: The model's test-time transform.
        augmentation: Augmentation of each image instead.
        seed: Seed that, with the step, decides everything random.
        shuffle: Whether each epoch has an order of its own.
        sampling: Key of `SAMPLINGS`: that order.
        weights: Factors of the losses by class; see `class_weights.factor_of`.
        keep: Key of `CACHES`.

    Raises:
        UserError: if augmentation, sampling or weights do not fit the split.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        preprocessing: Preprocessing,
        augmentation: AugmentationSettings,
        *,
        seed: int,
        shuffle: bool = True,
        sampling: str = "natural",
        weights: str | Mapping[str, float] = "none",
        keep: str = "none",
    ):
        recipe.check(preprocessing, split.channels, augmentation)
        self._split = cache.cached(split, keep)
        self._batch_size = batch_size
        self._preprocessing = preprocessing
        self._augmentation = augmentation
        self._seed = seed
        self._factor_of = class_weights.factor_of(weights, self._split)
        shuffled = batching.SAMPLINGS[sampling](self._split, seed)
        self._index = shuffled if shuffle else lambda position: position % split.size
        self._note = split.bad.watch(split)
        self._read = _traced(self._row)

    def batches(self, start_step: int = 0, share: int = 0, shares: int = 1, rows: int | None = None) -> tf.data.Dataset:
        """Endless batches, from that of `start_step` on.

        Args:
            start_step: Number of batches already consumed; skipping them costs nothing.
            share: Number of the part of each global batch to read, of
            shares: so many hosts.
            rows: Examples per batch of the result; the whole global batch if left out.
        """
        mixes = mixing.mixes(self._augmentation)
        part = batching.Part(self._batch_size, share, shares, rows or self._batch_size, int(mixes))
        batches = batching.batches(self._read, self._index, self._note, part, start_step, None)
        if mixes:
            numbered = tf.data.Dataset.zip(tf.data.Dataset.range(*part.batches(start_step, None)), batches)
            batches = numbered.map(lambda number, rows: self._mix(part.step(number), rows), 2, deterministic=True)
        return batches.prefetch(tf.data.AUTOTUNE)

    @property
    def element_spec(self):
        return self.batches().element_spec

    def _row(self, position: tf.Tensor):
        index = self._index(position)
        image, label = self._split.read(index)
        seed = tf.stack([tf.constant(self._seed, tf.int64), position])
        pixels = recipe.augment(image, seed, self._split.channels, self._preprocessing, self._augmentation)
        return {"images": pixels, "labels": label, "weights": self._factor_of(label), "ids": index}

    def _mix(self, step: tf.Tensor, rows: dict[str, tf.Tensor]):
        # No row has this seed: their positions are not negative.
        seed = tf.stack([tf.constant(self._seed, tf.int64), -1 - step])
        return mixing.mix(rows, seed, self._split.num_classes, self._augmentation)


class EvaluationData:
    """Every example of a split once, in order, the last batch filled up with rows of weight 0.

    Args:
        split: The examples.
        batch_size: Global batch size.
        preprocessing: The model's test-time transform.
        keep: Key of `CACHES`.
    """

    def __init__(self, split: Split, batch_size: int, preprocessing: Preprocessing, keep: str = "none"):
        self._split = cache.cached(split, keep)
        self._batch_size = batch_size
        self._preprocessing = preprocessing
        self._note = split.bad.watch(split)
        self._read = _traced(self._row)

    def batches(self, share: int = 0, shares: int = 1, rows: int | None = None) -> tf.data.Dataset:
        """The batches, or one host's part of them; the arguments are those of `TrainingData.batches`."""
        count = -(-self._split.size // self._batch_size)
        part = batching.Part(self._batch_size, share, shares, rows or self._batch_size)
        return batching.batches(self._read, self._index, self._note, part, 0, count).prefetch(tf.data.AUTOTUNE)

    def _index(self, position: tf.Tensor):
        return tf.minimum(position, self._split.size - 1)

    def _row(self, position: tf.Tensor):
        index = self._index(position)
        image, label = self._split.read(index)
        pixels = transform.apply(images.decode(image, self._split.channels), self._preprocessing)
        weight = tf.cast(position < self._split.size, tf.float32)
        return {"images": pixels, "labels": label, "weights": weight, "ids": index}


def _traced(row: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The same as one graph, made once for all the datasets that read by it: a recipe takes seconds to trace."""
    return tf.function(row, [tf.TensorSpec((), tf.int64)], autograph=False)
