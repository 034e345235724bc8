"""What the data doctor has seen: splits with their scans and labels, and the groups of duplicates among them."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from trainers.data.inspection import duplicates
from trainers.data.inspection.scan import Scan, scan
from trainers.data.source import Source, Split
from trainers.settings import splits


@dataclasses.dataclass(frozen=True)
class Part:
    """A split of the source that is inspected, or of one that it is held against.

    Args:
        source: Its source.
        name: What the split is called, e.g. `train[:90%]`.
        split: Its examples.
        scan: What was seen of them.
        examples: int64 (M,): with `classes`, all pairs of an example and a class it belongs to, examples ascending.
        classes: int64 (M,).
    """

    source: Source
    name: str
    split: Split
    scan: Scan
    examples: np.ndarray
    classes: np.ndarray

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


@dataclasses.dataclass(frozen=True)
class Subject:
    """All that was seen.

    Args:
        parts: Splits of the inspected source, the one to train on first.
        against: Splits of the sources that it is held against.
        groups: Images that are the same, or nearly; the number of a member's part counts `parts`, then `against`.
    """

    parts: list[Part]
    against: list[Part]
    groups: list[duplicates.Group]

    @property
    def source(self) -> Source:
        return self.parts[0].source

    def part(self, number: int) -> Part:
        return [*self.parts, *self.against][number]


def class_name(source: Source, label: int) -> str:
    """What a class is called."""
    return source.class_names[label] if source.class_names else str(label)


def look_at(source: Source, names: list[str], others: Mapping[str, Source]) -> Subject:
    """Looks at every image once, with bars.

    Args:
        source: What is inspected, opened.
        names: Its splits, the one to train on first.
        others: Opened sources to hold it against.
    """
    parts = [_part(source, name) for name in names]
    against = [_part(other, name) for other in others.values() for name in distinct(other, [], other.names)]
    return Subject(parts, against, duplicates.groups([part.scan for part in (*parts, *against)], len(parts)))


def distinct(source: Source, chosen: list[str], others: tuple[str, ...]) -> list[str]:
    """The chosen splits, and of the others those that share no example with any before them."""
    found = list(chosen)
    for name in others:
        if not any(splits.overlap(source.intervals(name), source.intervals(before)) for before in found):
            found.append(name)
    return found


def _part(source: Source, name: str) -> Part:
    split = source.split(name)
    seen = scan(split, source.channels, f"{source.name} {name}")
    return Part(source, name, split, seen, *split.positives())
