"""What the data doctor has seen: splits with their scans and labels, and the groups of duplicates among them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data.source import Source, Split
from trainers.inspection import duplicates
from trainers.inspection.scan import Scan, scan
from trainers.settings import splits


@dataclasses.dataclass(frozen=True)
class Part:
    """A split of the source that is inspected, or of one that it is held against.

    Args:
        source: Its source.
        split: Its examples.
        scan: Scan of them.
        examples: int64 (M,): with `classes`, all pairs of an example and a class it belongs to, examples ascending.
        classes: int64 (M,).
    """

    source: Source
    split: Split
    scan: Scan
    examples: np.ndarray
    classes: np.ndarray

    @property
    def name(self) -> str:
        """What the split is called, e.g. `train[:90%]`."""
        return self.split.name

    @property
    def title(self) -> str:
        """What it is called among splits of other sources."""
        return f"{self.source.name} {self.name}"

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """int64 (Y,): examples of each class."""
        return np.bincount(self.classes, minlength=self.source.num_classes)

    def labels(self, index: int) -> tuple[int, ...]:
        """The classes of an example."""
        return tuple(self.classes[slice(*np.searchsorted(self.examples, [index, index + 1]))].tolist())

    def words(self, index: int) -> str:
        """The names of an example's classes."""
        return ", ".join(class_name(self.source, label) for label in self.labels(index)) or "no label"


class Unlabelled(NamedTuple):
    """A split that cannot be looked at, because its source keeps the labels secret, or has lost them.

    Args:
        title: Name for people.
        own: Whether it is of the source that is inspected.
        reason: Reason that its source gives.
    """

    title: str
    own: bool
    reason: str


@dataclasses.dataclass(frozen=True)
class Subject:
    """All that was seen.

    Args:
        parts: Splits of the inspected source, the one to train on first.
        against: Splits of the sources that it is held against.
        groups: Images that are the same, or nearly; the number of a member's part counts `parts`, then `against`.
        size: Height and width of what the model to be trained is fed.
        unlabelled: Further splits, of any of the sources, that could not be looked at.
    """

    parts: list[Part]
    against: list[Part]
    groups: list[duplicates.Group]
    size: tuple[int, int]
    unlabelled: Sequence[Unlabelled] = ()

    @property
    def source(self) -> Source:
        return self.parts[0].source

    def part(self, number: int) -> Part:
        return [*self.parts, *self.against][number]

    def labels(self, member: duplicates.Member) -> tuple[int, ...]:
        """The classes of an image of a group."""
        return self.part(member.part).labels(member.example)


def class_name(source: Source, label: int) -> str:
    """What a class is called."""
    return source.class_names[label] if source.class_names else str(label)


def look_at(source: Source, names: list[str], others: Mapping[str, Source], size: tuple[int, int]) -> Subject:
    """Looks at every image once, with bars.

    Args:
        source: Source that is inspected, opened.
        names: Its splits, the one to train on first.
        others: Opened sources to hold it against.
        size: Height and width of what the model to be trained is fed.

    Raises:
        UserError: if the split to train on has no labels.
    """
    wanted = [(source, name) for name in names]
    wanted += [(other, name) for other in others.values() for name in distinct(other, [], other.names)]
    labelled, unlabelled = [], []
    for number, (each, name) in enumerate(wanted):
        split = each.split(name)
        try:
            labelled.append((each, split, positives(split)))
        except UserError as error:
            if not number:
                raise
            unlabelled.append(Unlabelled(name if each is source else f"{each.name} {name}", each is source, str(error)))
    parts: list[Part] = []
    for each, split, pairs in labelled:
        parts.append(Part(each, split, scan(split, f"{each.name} {split.name}"), *pairs))
    own = sum(part.source is source for part in parts)
    groups = duplicates.groups([part.scan for part in parts], own)
    return Subject(parts[:own], parts[own:], groups, size, unlabelled)


def positives(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of an example and a class it belongs to; where labels are shares, only that of the largest share.

    Raises:
        UserError: if there are no labels.
    """
    examples, classes = split.positives()
    if split.several_labels or (np.diff(examples) > 0).all():
        return examples, classes

    def largest(index: tf.Tensor):
        shares = split.read(index)[1]
        return index, tf.argmax(shares, output_type=tf.int64), tf.reduce_max(shares) > 0

    rows = tf.data.Dataset.range(split.size).map(largest, tf.data.AUTOTUNE, deterministic=True).ignore_errors()
    labelled = rows.filter(lambda index, label, there: there).batch(1024)
    nothing = np.zeros(0, "int64")
    pairs = [(nothing, nothing), *((index, label) for index, label, _ in labelled.as_numpy_iterator())]
    return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])


def distinct(source: Source, chosen: list[str], others: tuple[str, ...]) -> list[str]:
    """The chosen splits, and of the others those that share no example with any before them."""
    names = list(chosen)
    for name in others:
        if not any(splits.overlap(source.intervals(name), source.intervals(before)) for before in names):
            names.append(name)
    return names
