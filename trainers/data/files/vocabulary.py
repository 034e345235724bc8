"""From labels as people write them to classes: names, or numbers."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_vit.errors import UserError

_DECIMAL = re.compile(r"-?[0-9]{1,18}")  # longer ones are no numbers of classes, but may be names
_LAST = 2**31 - 2  # labels are int32, and so is their number


class Classes(NamedTuple):
    """What K labels mean.

    Args:
        of: int32 (K,), the class of each.
        num_classes: Y.
        names: Names of the classes; None where labels are numbers and nobody named them.
    """

    of: np.ndarray
    num_classes: int
    names: tuple[str, ...] | None


def classes(labels: Mapping[str | int, int], names: tuple[str, ...] | None, typed: bool, flag: str) -> Classes:
    """Numbers, where all labels are, and otherwise names: in the order given, or sorted.

    Args:
        labels: Labels that occur, each with the row where it first does.
        names: Names of all classes, in order; None where nobody says so.
        typed: Whether numbers are ints. If not, strings of digits are numbers too, unless all are among the names.
        flag: Flag with its value, with which messages begin.

    Raises:
        UserError: naming row and label, if a label is not among the classes.
    """
    if not labels:
        raise UserError(f"{flag}: not one row has a label.")
    numbers = _numbers(list(labels), names, typed)
    if numbers is None:
        names = names or tuple(sorted(set(map(str, labels))))
        known = {name: number for number, name in enumerate(names)}
        numbers = [known.get(str(label), -1) for label in labels]
        last, expected = _LAST, "is not in classes.txt; add it there, or correct it"
    else:
        last = len(names) - 1 if names else _LAST
        expected = f"is not a class; those are numbered from 0 to {last:,}{' in classes.txt' * bool(names)}"
    for number, (label, row) in zip(numbers, labels.items(), strict=True):
        if not 0 <= number <= last:
            raise UserError(f"{flag}: row {row}: label {label!r} {expected}.")
    return Classes(np.array(numbers, "int32"), len(names) if names else max(numbers) + 1, names)


def class_names(text: str, flag: str) -> tuple[str, ...]:
    """The names in a file of one per line.

    Raises:
        UserError: if a line is blank, or two are the same.
    """
    names: dict[str, int] = {}
    for row, line in enumerate(text.rstrip().split("\n"), 1):
        name = line.strip()
        if not name:
            raise UserError(f"{flag}: classes.txt, row {row} is blank; a name is expected.")
        if name in names:
            raise UserError(f"{flag}: classes.txt has {name!r} in rows {names[name]} and {row}; keep one.")
        names[name] = row
    return tuple(names)


def _numbers(labels: Sequence[str | int], names: Sequence[str] | None, typed: bool) -> list[int] | None:
    """The labels as numbers; None where they are names."""
    if not typed and names is not None and set(labels) <= set(names):
        return None
    kinds = (int if typed else str,)
    numbers = [int(label) for label in labels if isinstance(label, kinds) and _DECIMAL.fullmatch(str(label))]
    return numbers if len(numbers) == len(labels) else None
