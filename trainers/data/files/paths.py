"""Examples whose images are files of their own: from paths and labels to splits."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainers.data.source import Split, multi_hot

# What people call their splits, in any case, and what we do.
SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# Where nobody has divided the examples: from which place on, in [0, 1), they belong to each split.
_BEGINS = {"train": 0.0, "validation": 0.8, "test": 0.9}


class Labels(NamedTuple):
    """Classes of N examples: those of example i are `values[begins[i] : begins[i + 1]]`.

    Args:
        values: int32 (M,), ascending and no two the same within an example.
        begins: int64 (N + 1,).
    """

    values: np.ndarray
    begins: np.ndarray

    def take(self, rows: np.ndarray) -> "Labels":
        """Those of some examples, in that order."""
        lengths = np.diff(self.begins)[rows]
        begins = np.concatenate([[0], np.cumsum(lengths)])
        origin = np.repeat(self.begins[rows] - begins[:-1], lengths)
        return Labels(self.values[origin + np.arange(begins[-1])], begins)


def one_each(values: np.ndarray) -> Labels:
    """Labels of examples that have one class each, int32 (N,)."""
    return Labels(values, np.arange(len(values) + 1))


@dataclasses.dataclass(frozen=True)
class ImageFiles:
    """All image files of a source, not yet divided into splits.

    Args:
        root: Folder that paths are relative to.
        paths: Paths as given: relative, absolute, or with ://.
        labels: Classes of the files.
        num_classes: Y.
        several: Whether one may have any number of classes; otherwise each has exactly one.
        sizes: int64 (N,), bytes of each; None where nobody knows.
    """

    root: str
    paths: Sequence[bytes]
    labels: Labels
    num_classes: int
    several: bool = False
    sizes: np.ndarray | None = None

    def split(self, rows: np.ndarray) -> Split:
        """Some of them, in that order."""
        labels, several, num_classes = self.labels.take(rows), self.several, self.num_classes
        with tf.device("CPU"):  # as tensors that graphs refer to; arrays would become part of them, up to 2 GB
            paths = tf.constant([located(self.root, self.paths[row]) for row in rows])
            values, begins = tf.constant(labels.values), tf.constant(labels.begins)

        def read(index: tf.Tensor):
            # Nothing here refers to `self`, whose lists of a million paths can go.
            image = tf.io.read_file(paths[index])
            if several:
                return image, multi_hot(values[begins[index] : begins[index + 1]], num_classes)
            return image, values[index]

        def positives():
            examples = np.repeat(np.arange(len(rows)), np.diff(labels.begins))
            return examples, labels.values.astype("int64")

        return Split(
            len(rows),
            read,
            positives,
            lambda index: shown(paths[index].numpy()),
            None if self.sizes is None else int(self.sizes[rows].sum()),
        )

    def fingerprint(self, rows_by_split: Mapping[str, np.ndarray]) -> str:
        """The same for the same paths and labels in the same splits and order, wherever the root is."""
        digest = hashlib.sha256()
        for name, rows in rows_by_split.items():
            digest.update(b"\0".join([name.encode(), *(self.paths[row] for row in rows)]))
            for array in self.labels.take(rows):
                digest.update(array.data)
        return digest.hexdigest()[:16]


def places(paths: Sequence[bytes]) -> np.ndarray:
    """A place for each path, uint64 and meant as a share of 2^64: at random, but whatever other paths there are.

    Kept as integers: of a million doubles, two are the same once in 10,000 times, and their order would be open.
    """
    heads = b"".join(hashlib.sha256(path).digest()[:8] for path in paths)
    return np.frombuffer(heads, ">u8").astype("uint64")


def divided(places: np.ndarray) -> dict[str, np.ndarray]:
    """The examples of each split, ascending, by their places: 80 % train, 10 % validation, 10 % test."""
    begins = np.array([int(share * 2**64) for share in _BEGINS.values()], "uint64")
    return chosen(np.searchsorted(begins, places, side="right") - 1, list(_BEGINS))


def chosen(numbers: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The examples of each split, ascending, from the number of each example's split; no split is empty."""
    rows = {name: np.flatnonzero(numbers == number) for number, name in enumerate(names)}
    return {name: members for name, members in rows.items() if len(members)}


def located(root: str, path: bytes) -> bytes:
    """A path that may be relative to a root."""
    return path if b"://" in path else os.path.join(os.fsencode(root), path)


def shown(path: bytes) -> str:
    """A path as text that can be printed, whatever its bytes are."""
    return path.decode("utf-8", "backslashreplace")
