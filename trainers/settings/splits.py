"""The words for parts of a source: `train`, `train[:98%]`, `train[-1000:]`, `train[:800]+validation[:200]`.

The same as in TensorFlow Datasets; a percentage means the nearest example. Parts are intervals of a source's own
splits, so that two of them can be compared.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from keras_vit.errors import UserError

_NAME = r"[A-Za-z_][\w.-]*"
_END = r"-?\d+(?:\.\d+)?%|-?\d+"
_PART = re.compile(rf"({_NAME})(?:\[({_END})?:({_END})?\])?")


class Interval(NamedTuple):
    """Examples `first` to `last`, exclusive, of a source's own split `base`."""

    base: str
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first


class Slice(NamedTuple):
    """One term of an expression; an end is a count, a percentage such as `98%`, or None for the split's own."""

    name: str
    start: str | None
    stop: str | None


def parse(expression: str) -> list[Slice]:
    """The terms of an expression.

    Raises:
        UserError: if it is not NAME or NAME[FROM:TO], or several such joined by +.
    """
    matches = [_PART.fullmatch(term.strip()) for term in expression.split("+")]
    slices = [Slice(match[1], match[2], match[3]) for match in matches if match]
    if len(slices) < len(matches):
        raise UserError(
            f"Unknown split {expression!r}; expected a name such as train, a part of one such as train[:99%] or "
            "train[1000:2000], or several joined by +."
        )
    return slices


def resolve(expression: str, sizes: Mapping[str, int], views: Mapping[str, str], source: str) -> tuple[Interval, ...]:
    """The intervals that an expression means.

    Args:
        expression: Expression as above.
        sizes: Examples in each of the source's own splits.
        views: Further names, each for an expression over the own splits; they come first.
        source: The source's name, for messages.

    Raises:
        UserError: if there is no such split, or the part is empty or reaches beyond it.
    """
    intervals: list[Interval] = []
    for part in parse(expression):
        name = part.name
        if name in views:
            whole = resolve(views[name], sizes, {}, source)
        elif name in sizes:
            whole = (Interval(name, 0, sizes[name]),)
        else:
            raise UserError(f"Source {source!r} has no split {name!r}; it has {', '.join([*views] or [*sizes])}.")
        size = sum(part.size for part in whole)
        first, last = bounds(part, size)
        if not 0 <= first < last <= size:
            what = "is empty" if 0 <= first <= size and 0 <= last <= size else "reaches beyond it"
            raise UserError(f"Split {expression!r} of {source!r} {what}: {name!r} has {size:,} examples.")
        intervals += _cut(whole, first, last)
    if len(intervals) > 1 and any(_meet(one, other) for i, one in enumerate(intervals) for other in intervals[:i]):
        raise UserError(f"Split {expression!r} of {source!r} names some examples twice.")
    return tuple(intervals)


def bounds(part: Slice, size: int) -> tuple[int, int]:
    """First and last, exclusive, of a term's examples among the `size` of its split; perhaps beyond it."""
    return _position(part.start, size, 0), _position(part.stop, size, size)


def overlap(one: tuple[Interval, ...], other: tuple[Interval, ...]) -> bool:
    """Whether two parts of a source share examples."""
    return any(_meet(a, b) for a in one for b in other)


def _meet(one: Interval, other: Interval) -> bool:
    return one.base == other.base and one.first < other.last and other.first < one.last


def _position(end: str | None, size: int, usual: int) -> int:
    """An end as a count from the beginning."""
    if end is None:
        return usual
    count = round(float(end[:-1]) * size / 100) if end.endswith("%") else int(end)
    return count + size if end.startswith("-") else count


def _cut(parts: tuple[Interval, ...], first: int, last: int) -> list[Interval]:
    """Examples `first` to `last` of parts that follow each other."""
    intervals, begin = [], 0
    for part in parts:
        low, high = max(first - begin, 0), min(last - begin, part.size)
        if low < high:
            intervals.append(Interval(part.base, part.first + low, part.first + high))
        begin += part.size
    return intervals
