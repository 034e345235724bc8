"""From the arrays of a file to the variables of a model, with a report of what became of each."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from keras_vit.errors import InvalidWeights, reason
from keras_vit.weights.adapt import Change
from keras_vit.weights.rows import Row
from keras_vit.weights.stored import Stored, one_line


class LoadReport(NamedTuple):
    """What became of each array: names in the file, except `missing`, which are paths in the model."""

    matched: list[str]
    resized: list[str]
    reinitialised: list[str]
    unused: list[str]
    missing: list[str]

    def __str__(self) -> str:
        counts = ", ".join(f"{len(names)} {kind}" for kind, names in self._asdict().items() if names)
        lines = [f"  {kind}: {shown(names)}" for kind, names in self._asdict().items() if names and kind != "matched"]
        return "\n".join([f"arrays: {counts}", *lines])


def fill(model: Any, stored: Stored, rows: list[Row], changes: dict[str, Change], ignore: str = "") -> LoadReport:
    """Assigns the arrays of a file to a model's variables, one after the other.

    Args:
        model: Freshly built.
        stored: The file.
        rows: Rows of the name table, for the architecture in the file.
        changes: Changes as of `adapt.changes`.
        ignore: Regular expression over names in the file and paths in the model that may be left over, or be missing.

    Raises:
        InvalidWeights: if an array is missing, left over, or has another shape than it should.
    """
    variables = {variable.path: variable for variable in model.weights}
    present = [row for row in rows if set(row.names) <= set(stored.shapes)]
    _check_names(stored, rows, present, variables, ignore)
    for row in present:
        _check_shapes(stored, row, variables, changes)
    by_kind: dict[str, list[str]] = {"matched": [], "resized": [], "reinitialised": [], "unused": []}
    filled = set()
    for row in present:
        kinds = {path: _kind(path, variables, changes) for path in row.paths}
        if not {"matched", "resized"}.isdisjoint(kinds.values()):
            for path, value in zip(row.paths, _values(stored, row), strict=True):
                if kinds[path] in ("matched", "resized"):
                    variables[path].assign(_changed(stored, row, value, changes.get(path)))
                    filled.add(path)
        worst = max(kinds.values(), key=list(by_kind).index)
        by_kind[worst] += [stored.origin(name) for name in row.names]
    names = {name for row in present for name in row.names}
    by_kind["unused"] += [stored.origin(name) for name in stored.shapes if name not in names]
    fresh = {path for row in present for path in row.paths if _kind(path, variables, changes) == "reinitialised"}
    missing = sorted(set(variables) - filled - fresh)
    return LoadReport(**{kind: sorted(names) for kind, names in by_kind.items()}, missing=missing)


def _kind(path: str, variables: dict[str, Any], changes: dict[str, Change]) -> str:
    """What becomes of the value for a variable."""
    if path not in variables:
        return "unused"
    if path not in changes:
        return "matched"
    return "reinitialised" if changes[path] is None else "resized"


def _check_names(stored: Stored, rows: list[Row], present: list[Row], variables: dict[str, Any], ignore: str) -> None:
    """Raises InvalidWeights for arrays that the table does not have, or that the file does not have."""
    known = {name for row in rows for name in row.names}
    unused = [stored.origin(name) for name in stored.shapes if name not in known]
    absent = [path for row in rows if row not in present for path in row.paths if path in variables]
    unused, absent = (
        [name for name in names if not (ignore and re.search(ignore, name))] for names in (unused, absent)
    )
    if unused or absent:
        raise InvalidWeights(
            f"{stored.path}: the arrays do not match the model. Missing for {shown(sorted(absent))}; unused in the "
            f"file {shown(sorted(unused))}. What may be left out is named by ignore=, a regular expression."
        )


def _check_shapes(stored: Stored, row: Row, variables: dict[str, Any], changes: dict[str, Change]) -> None:
    """Raises InvalidWeights if arrays of these shapes do not make the row's variables; reads none of them."""
    arrays = ", ".join(f"{stored.origin(name)} {stored.shapes[name]}" for name in row.names)
    blanks = [np.broadcast_to(np.float32(0), stored.shapes[name]) for name in row.names]
    try:
        values = row.to_values(*blanks)
    except (ValueError, IndexError) as error:
        raise InvalidWeights(f"{stored.path}: {arrays}: {reason(error)}.") from error
    for path, value in zip(row.paths, values, strict=True):
        if path in variables and path not in changes and value.shape != tuple(variables[path].shape):
            raise InvalidWeights(
                f"{stored.path}: {arrays} does not fit; the model's {path} needs {tuple(variables[path].shape)}."
            )


def _changed(stored: Stored, row: Row, value: np.ndarray, change: Change) -> np.ndarray:
    """A value made that of another architecture."""
    try:
        return change(value) if change else value
    except ValueError as error:
        arrays = ", ".join(f"{stored.origin(name)} {stored.shapes[name]}" for name in row.names)
        raise InvalidWeights(f"{stored.path}: {arrays} is not what its architecture has ({reason(error)}).") from error


def _values(stored: Stored, row: Row) -> tuple[np.ndarray, ...]:
    return row.to_values(*(stored.read(name) for name in row.names))


def shown(names: Iterable[str]) -> str:
    """The first few of some names."""
    lines = [one_line(name) for name in names]
    return (", ".join(lines[:5]) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")) or "nothing"
