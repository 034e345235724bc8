"""Encoded images cached in memory between epochs."""

import dataclasses

import tensorflow as tf
from tqdm import tqdm

from trainers.data.attempt import attempt
from trainers.data.source import Split

LIMIT = 2**30  # bytes of encoded images that auto keeps


def cached(split: Split, choice: str) -> Split:
    """The split, its encoded images read once into memory where the choice, a key of `CACHES`, says so."""
    return _read_into_memory(split) if CACHES[choice](split) else split


def words(split: Split, choice: str) -> str:
    """What `cached` does, for the plan of a run."""
    size = "of unknown size" if split.encoded_bytes is None else f"of {split.encoded_bytes / 2**20:,.1f} MiB"
    return f"{choice}: encoded images {size}, {'in memory' if CACHES[choice](split) else 'read anew in each epoch'}"


def _fits(split: Split) -> bool:
    return split.encoded_bytes is not None and split.encoded_bytes <= LIMIT


def _read_into_memory(split: Split) -> Split:
    """All of it read once, before training. An image that cannot be read stays so: it becomes an empty string."""
    image, label = tf.data.Dataset.range(1).map(split.read).element_spec
    if image.dtype != tf.string:  # pixels, which are there already
        return split

    def nothing(index: tf.Tensor):
        return tf.constant(b""), tf.zeros(label.shape, label.dtype)

    rows = tf.data.Dataset.range(split.size).map(
        lambda index: attempt(split.read, nothing, index), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    parts = []
    with tqdm(total=split.size, desc="reading into memory", unit="image", delay=2, leave=False) as bar:
        for part in rows.batch(256):
            parts.append(part)
            bar.update(len(part[0]))
    with tf.device("CPU"):
        images, labels = (tf.concat(column, axis=0) for column in zip(*parts, strict=True))
    return dataclasses.replace(split, read=lambda index: (images[index], labels[index]))


# Whether a split is read into memory.
CACHES = {"auto": _fits, "memory": lambda split: True, "none": lambda split: False}
