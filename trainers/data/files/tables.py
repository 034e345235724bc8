"""Tables that list image files as a source: `csv:FILE` and `jsonl:FILE`."""

import array
import os
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError, reason
from trainers.data.files import paths, table_rows, vocabulary
from trainers.data.files.table_rows import Row, Table
from trainers.data.source import Source, Split
from trainers.settings.data import SourceSettings

_CLASSES = "classes.txt"


def csv_table(value: str, settings: SourceSettings) -> Source:
    """Images listed in a CSV: columns `path`, `label` or `labels` (joined by |), and perhaps `split`.

    Paths are relative to the table's folder, unless absolute. Labels are names, sorted for their order, or all of them
    numbers; a file `classes.txt` beside the table, one name per line, sets names and order. Without `split`, a file's
    split follows from its path as given. Rows keep their order within a split.

    Args:
        value: The file.
        settings: Settings of the command; not used.

    Raises:
        UserError: naming the row, if there is something wrong with the table.
    """
    return _source("csv", value, table_rows.csv_table)


def jsonl_table(value: str, settings: SourceSettings) -> Source:
    """Images listed in JSON objects, one per line, with the same keys as a CSV's columns; `labels` is a list.

    Args:
        value: The file.
        settings: Settings of the command; not used.

    Raises:
        UserError: naming the row, if there is something wrong with the table.
    """
    return _source("jsonl", value, table_rows.jsonl_table)


def _source(kind: str, value: str, parse: Callable[[bytes, str], Table]) -> Source:
    flag = f"--source={kind}:{value}"
    if not value:
        raise UserError(f"--source={kind} needs a file, as in {kind}:data/flowers.{kind}.")
    data = _read(value, flag)
    table = parse(data, flag)
    rows = tqdm(table.rows, f"Reading {value}", data.count(b"\n"), unit=" rows", delay=2, leave=False)
    columns = _Columns(rows, flag)
    root = os.path.dirname(value)
    names = _class_names(os.path.join(root, _CLASSES), flag)
    classes = vocabulary.classes(columns.vocabulary, names, table.typed, flag)
    labels = columns.labels(classes, table.several)
    files = paths.ImageFiles(root, columns.paths, labels, classes.num_classes, table.several)
    members = columns.members()
    splits = {name: files.split(rows) for name, rows in members.items()}
    return Source(
        f"{kind}:{value}",
        3,
        classes.num_classes,
        classes.names,
        splits,
        several_labels=table.several,
        fingerprint=files.fingerprint(members),
        ready=lambda: _check_there(splits, flag),
    )


class _Columns:
    """What N rows say, at a few bytes for each.

    Args:
        rows: Rows to read.
        flag: Flag with its value, with which messages begin.

    Attributes:
        paths: Paths of the rows, as given.
        vocabulary: Labels that occur, each with the row where it first does.

    Raises:
        UserError: if there is no row, or one is wrong.
    """

    def __init__(self, rows: Iterable[Row], flag: str):
        self.paths: list[bytes] = []
        self.vocabulary: dict[str | int, int] = {}
        self._numbers: dict[str | int, int] = {}
        self._labels, self._counts = array.array("i"), array.array("i")
        self._split_numbers: dict[str, int] = {}
        self._split_of = array.array("i")
        for row in rows:
            self.paths.append(row.path.encode())
            self._counts.append(len(row.labels))
            for label in row.labels:
                self.vocabulary.setdefault(label, row.number)
                self._labels.append(self._numbers.setdefault(label, len(self._numbers)))
            if row.split is not None:
                name = _split_name(row, flag)
                self._split_of.append(self._split_numbers.setdefault(name, len(self._split_numbers)))
        if not self.paths:
            raise UserError(f"{flag} lists no image; a row for each is expected.")

    def labels(self, classes: vocabulary.Classes, several: bool) -> paths.Labels:
        """The classes of each row: one, or any number where there may be several."""
        values = classes.of[np.array(self._labels)]
        if not several:
            return paths.one_each(values)
        rows = np.repeat(np.arange(len(self.paths)), self._counts)
        pairs = np.unique(rows * classes.num_classes + values)  # in order, and none twice
        begins = np.searchsorted(pairs // classes.num_classes, np.arange(len(self.paths) + 1))
        return paths.Labels((pairs % classes.num_classes).astype("int32"), begins)

    def members(self) -> dict[str, np.ndarray]:
        """The rows of each split, ascending."""
        if not self._split_numbers:
            return paths.divided(paths.places(self.paths))
        members = paths.chosen(np.array(self._split_of), list(self._split_numbers))
        usual = dict.fromkeys(name for name in paths.SPLIT_WORDS.values() if name in members)
        return {name: members[name] for name in usual | members}


def _split_name(row: Row, flag: str) -> str:
    text = str(row.split)
    name = paths.SPLIT_WORDS.get(text.lower(), text)
    if not (name.isidentifier() and name.isascii()):
        raise UserError(
            f"{flag}: row {row.number}: a split is train, validation, test or another name of letters, digits and _; "
            f"got {text!r}."
        )
    return name


def _read(path: str, flag: str) -> bytes:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.OpError as error:
        raise UserError(f"{flag}: {path} cannot be read: {reason(error)}.") from error


def _class_names(path: str, flag: str) -> tuple[str, ...] | None:
    if not tf.io.gfile.exists(path):
        return None
    return vocabulary.class_names(table_rows.decoded(_read(path, flag), f"{flag}: {_CLASSES}"), flag)


def _check_there(splits: Mapping[str, Split], flag: str) -> None:
    """Raises UserError unless the first file of each split exists; a million would take a while."""
    for name, split in splits.items():
        path = split.locate(0)
        try:
            fault = None if tf.io.gfile.exists(path) else "there is none"
        except tf.errors.OpError as error:
            fault = reason(error)
        if fault:
            raise UserError(
                f"{flag}: the first image of {name} is looked for at {path}, but: {fault}. Paths are relative to the "
                "table's folder."
            )
