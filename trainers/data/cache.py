"""Encoded images kept in memory between epochs."""

import dataclasses

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from trainers.data.attempt import attempt
from trainers.data.source import Split

LIMIT = 2**30


def none(split: Split) -> Split:
    """Read from where it is each time; the system keeps what it has room for."""
    return split


def auto(split: Split) -> Split:
    """In memory if all of it takes up to 1 GiB."""
    image, label = tf.data.Dataset.range(1).map(split.read).element_spec
    if image.dtype != tf.string or split.encoded_bytes is None:
        return split
    labels = split.size * int(np.prod(label.shape)) * label.dtype.size
    return memory(split) if split.encoded_bytes + labels <= LIMIT else split


def memory(split: Split) -> Split:
    """All of it read once, before training. An image that cannot be read stays so: it becomes an empty string."""
    image, label = tf.data.Dataset.range(1).map(split.read).element_spec
    if image.dtype != tf.string:
        return split

    def nothing(index):
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


CACHES = {"auto": auto, "memory": memory, "none": none}
