"""How a split is cut into shards: decided by its examples alone, so that writing can go on where it was stopped."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.attempt import attempt
from trainers.data.source import Source, Split

_SAMPLE = 100  # examples that a split's size is estimated from where nobody knows it


class ShardPlan(NamedTuple):
    """A split that is to be written.

    Args:
        name: Name that it will have.
        expression: Expression of it over the source's splits.
        split: Split with its examples.
        encoded_bytes: Bytes of its encoded images, about.
        shards: Number of files.
    """

    name: str
    expression: str
    split: Split
    encoded_bytes: int
    shards: int

    def begin(self, shard: int) -> int:
        """The first example of a shard; that after the last one for the number of shards."""
        return self.split.size * shard // self.shards


def plan(source: Source, name: str, expression: str, shard_bytes: int) -> ShardPlan:
    """Shards of equally many examples, and of about `shard_bytes` of encoded images each.

    Raises:
        UserError: if there is no such split.
        UserError: if its images are floats, which files of images cannot hold.
    """
    split = source.split(expression)
    image, _ = tf.data.Dataset.range(1).map(split.read).element_spec
    if image.dtype not in (tf.string, tf.uint8):
        raise UserError(
            f"{source.name} holds images of {image.dtype.name}; records hold encoded images or uint8 pixels, so save "
            "it as uint8, from 0 to 255."
        )
    total = _sampled_bytes(split) if split.encoded_bytes is None else split.encoded_bytes
    return ShardPlan(name, expression, split, total, min(split.size, max(1, -(-total // shard_bytes))))


def encoded(image: tf.Tensor) -> tf.Tensor:
    """The bytes of an image: its own, or of pixels a PNG, which loses nothing."""
    return image if image.dtype == tf.string else tf.io.encode_png(image)


def _sampled_bytes(split: Split) -> int:
    """Bytes of all images, from examples at equal distances; those that cannot be read count as empty."""
    numbers = np.linspace(0, split.size - 1, min(split.size, _SAMPLE)).astype("int64")
    sizes = tf.data.Dataset.from_tensor_slices(numbers).map(
        lambda index: attempt(
            lambda number: tf.strings.length(encoded(split.read(number)[0])), lambda number: tf.constant(0), index
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return round(float(np.mean(list(sizes.as_numpy_iterator()))) * split.size)
