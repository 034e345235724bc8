"""Rows of tables that list images, from CSV or JSON lines, each checked as it is read."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras_vit.errors import UserError

# Under which names a column is accepted; the first that there is counts.
PATH = ("path", "image", "file", "filename")
LABEL = ("label", "class", "labels")
SEVERAL = "labels"
SPLIT = "split"
_DELIMITERS = ",\t;"
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of surrogate pairs


class Row(NamedTuple):
    """One image.

    Args:
        number: Number of the row in its file, for messages: in a CSV the header is row 1.
        path: Path as given.
        labels: Names, or numbers from JSON.
        split: Split as given; None where the table has none.
    """

    number: int
    path: str
    labels: Sequence[str | int]
    split: str | None


class Table(NamedTuple):
    """A table whose rows are yet to be read.

    Args:
        rows: Rows in order; they may raise UserError as they come.
        several: Whether a row may have any number of labels.
        typed: Whether a number can be told from a name that consists of digits.
    """

    rows: Iterator[Row]
    several: bool
    typed: bool


def csv_table(data: bytes, flag: str) -> Table:
    """A table with a header and columns `path`, `label` or `labels` (joined by |), and perhaps `split`.

    The delimiter is a comma, tab or semicolon, whichever makes most of the header's columns known ones.

    Args:
        data: The file's bytes.
        flag: Flag with its value, with which messages begin.

    Raises:
        UserError: if it is not UTF-8 text, or a column is missing.
    """
    text = _text(data, flag, newline="")
    header = text.readline()
    delimiter = max(_DELIMITERS, key=lambda delimiter: _known(_columns(header, delimiter)))
    columns = _columns(header, delimiter)
    path, label = _first(PATH, columns, "column", flag), _first(LABEL, columns, "column", flag)
    several = label == SEVERAL

    def rows():
        for number, cells in _numbered(csv.reader(text, delimiter=delimiter, strict=True), flag):
            if len(cells) != len(columns):
                raise UserError(
                    f"{flag}: row {number} has {len(cells)} columns, but the header {len(columns)}; values that "
                    f"contain {delimiter!r} need quotes."
                )
            cell = dict(zip(columns, cells, strict=True))
            labels = [part.strip() for part in (cell[label].split("|") if several else [cell[label]])]
            if several and labels == [""]:
                labels = []
            split = cell[SPLIT].strip() if SPLIT in cell else None
            yield _checked(Row(number, cell[path], labels, split), flag)

    return Table(rows(), several, typed=False)


def jsonl_table(data: bytes, flag: str) -> Table:
    """One JSON object per line with the keys `path`, `label` or `labels` (a list), and perhaps `split`.

    Args:
        data: The file's bytes.
        flag: Flag with its value, with which messages begin.

    Raises:
        UserError: if it is not UTF-8 text, or the first line is not such an object.
    """
    first = next(_objects(data, flag), (1, {}))
    keys = list(first[1])
    path, label = _first(PATH, keys, "key", flag), _first(LABEL, keys, "key", flag)
    wanted = {path, label, *({SPLIT} & set(keys))}

    def rows():
        for number, fields in _objects(data, flag):
            odd = sorted(wanted ^ (fields.keys() & {path, label, SPLIT}))
            if odd:
                raise UserError(f"{flag}: of row {number} and row {first[0]}, only one has {odd[0]!r}.")
            labels = fields[label] if label == SEVERAL else [fields[label]]
            if not isinstance(labels, list):
                raise UserError(f"{flag}: row {number}: {SEVERAL!r} must be a list; got {_quoted(labels)}.")
            split = (fields[SPLIT] or "") if SPLIT in wanted else None
            yield _checked(Row(number, fields[path], labels, split), flag)

    return Table(rows(), label == SEVERAL, typed=True)


def decoded(data: bytes, flag: str) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        UserError: naming the row where it is something else.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{flag}: row {row} is not UTF-8 text; save the table as UTF-8.") from error


def _text(data: bytes, flag: str, newline: str) -> io.TextIOWrapper:
    decoded(data, flag)
    # Read piece by piece, not from a StringIO: that holds four bytes for each character.
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=newline)


def _columns(header: str, delimiter: str) -> list[str]:
    """Names in a header; names have no delimiters in them, so quotes are only taken off."""
    return [cell.strip(' "\r\n').lower() for cell in header.split(delimiter)] if header.strip() else []


def _known(columns: list[str]) -> tuple[int, int]:
    return len({*columns} & {*PATH, *LABEL, SPLIT}), len(columns)


def _first(accepted: Sequence[str], there: list[str], what: str, flag: str) -> str:
    """Which of the accepted names there is."""
    for name in accepted:
        if there.count(name) > 1:
            raise UserError(f"{flag}: two columns are called {name!r}; rename one.")
        if name in there:
            return name
    names = ", ".join(map(repr, there[:9])) + ", ..." * (len(there) > 9)
    raise UserError(f"{flag}: no {what} {accepted[0]!r} (or {', '.join(accepted[1:])}); there is {names or 'none'}.")


def _numbered(reader: Any, flag: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, with their numbers."""
    number = 1
    try:
        for cells in reader:
            number += 1
            if cells:
                yield number, cells
    except csv.Error as error:
        raise UserError(f"{flag}: row {number + 1} is not CSV: {error}.") from error


def _objects(data: bytes, flag: str) -> Iterator[tuple[int, dict]]:
    """The objects of lines that are not blank, with the lines' numbers."""
    for number, line in enumerate(_text(data, flag, newline="\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{flag}: row {number} is not JSON: {getattr(error, 'msg', error)}.") from error
        if not isinstance(value, dict):
            raise UserError(f"{flag}: row {number} is not a JSON object, such as {{'path': 'a.jpg', 'label': 'cat'}}.")
        yield number, value


def _checked(row: Row, flag: str) -> Row:
    """The row, if all its values are what they should be."""
    for name, value in (("path", row.path), (SPLIT, "train" if row.split is None else row.split)):
        if not _is_text(value):
            raise UserError(f"{flag}: row {row.number}: a {name} expected; got {_quoted(value)}.")
    for label in row.labels:
        if label in ("", None):
            raise UserError(f"{flag}: row {row.number}: label missing; only {SEVERAL!r} may be empty.")
        if not (_is_text(label) or (isinstance(label, int) and not isinstance(label, bool))):
            raise UserError(
                f"{flag}: row {row.number}: a label is a name or a whole number; got {_quoted(label)}. Lists go under "
                f"{SEVERAL!r}."
            )
    return row


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not _UNWRITABLE.search(value)


def _quoted(value: Any) -> str:
    return json.dumps(value)[:80]
