"""How each class fares: per_class.csv, confusion.csv and confusion.png, and the same in text."""

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_vit.evaluation import classification
from keras_vit.evaluation.classification import Confusion
from trainers import files, run_dir
from trainers.reports import confusion_picture

MOST_CONFUSED = 10  # pairs that the text lists


class ClassReport(NamedTuple):
    """Measures of Y classes.

    Args:
        names: Names of the classes, in label order.
        columns: Name of each measure -> its values (Y,), NaN where undefined.
        decisive: The measure by which the worst classes are found.
        confusions: Entries of the confusion matrix, largest first; none where examples may have several classes.
    """

    names: Sequence[str]
    columns: dict[str, np.ndarray]
    decisive: str
    confusions: list[Confusion]


def of_predictions(labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]) -> ClassReport:
    """Precision, recall, F1 and support of classes that exclude each other.

    Args:
        labels: (N,) integers.
        predictions: (N,) integers.
        names: Names of the Y classes.
    """
    measures = classification.per_class(labels, predictions, len(names))
    return ClassReport(names, measures._asdict(), "f1", classification.confusions(labels, predictions))


def of_average_precisions(average_precisions: np.ndarray, positives: np.ndarray, names: Sequence[str]) -> ClassReport:
    """Average precision and support of classes of which an example may have several.

    Args:
        average_precisions: (Y,).
        positives: (N, Y), not 0 for examples of a class.
        names: Names of the Y classes.
    """
    columns = {"average_precision": np.asarray(average_precisions), "support": np.count_nonzero(positives, axis=0)}
    return ClassReport(names, columns, "average_precision", [])


def names_of(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Names of classes; their numbers where nobody has named them."""
    return list(class_names) if class_names is not None else [str(number) for number in range(num_classes)]


def text(report: ClassReport) -> str:
    """A table of the classes, the worst first, then the pairs that were most often confused."""
    heads = [head.replace("_", " ") for head in report.columns]
    width = max(map(len, ("class", *report.names)))
    lines = [f"  {'class':<{width}}  {'  '.join(f'{head:>9}' for head in heads)}"]
    # NaN is sorted last: of classes without examples there is nothing to say.
    for y in np.argsort(report.columns[report.decisive], kind="stable"):
        cells = [
            _cell(column[y]).rjust(max(len(head), 9))
            for head, column in zip(heads, report.columns.values(), strict=True)
        ]
        lines.append(f"  {report.names[y]:<{width}}  {'  '.join(cells)}")
    mistakes = [entry for entry in report.confusions if entry.label != entry.prediction][:MOST_CONFUSED]
    if mistakes:
        lines.append("most often confused:")
    lines += [f"  {report.names[i]} taken for {report.names[j]}: {count:,}" for i, j, count in mistakes]
    return "\n".join(lines)


def write(report: ClassReport, output: str) -> list[str]:
    """Writes the report's files into a folder, each whole or not at all.

    per_class.csv has a row for each class in label order. confusion.csv has one for each entry of the confusion matrix
    that is not 0, largest first, so that it stays small for thousands of classes.

    Args:
        report: Report that is to be written.
        output: The folder; any path that tf.io.gfile understands.

    Returns:
        Names of the files written.

    Raises:
        Unwritable: with the reason.
    """
    rows = zip(report.names, *report.columns.values(), strict=True)
    _write_csv(
        os.path.join(output, run_dir.PER_CLASS),
        ("class", *report.columns),
        ((name, *map(_plain, values)) for name, *values in rows),
    )
    if not report.confusions:
        return [run_dir.PER_CLASS]
    _write_csv(
        os.path.join(output, run_dir.CONFUSION),
        ("class", "predicted", "examples"),
        ((report.names[i], report.names[j], count) for i, j, count in report.confusions),
    )
    drawn = confusion_picture.write(report.confusions, report.names, os.path.join(output, run_dir.CONFUSION_PICTURE))
    return [run_dir.PER_CLASS, run_dir.CONFUSION, *[run_dir.CONFUSION_PICTURE] * drawn]


def _write_csv(path: str, heads: Sequence[str], rows: Iterable[Sequence]) -> None:
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([heads, *rows])
    files.write_text(path, lines.getvalue())


def _plain(value: Any) -> int | str:
    """A number for a file; nothing where it is undefined."""
    if isinstance(value, np.integer):
        return int(value)
    return "" if math.isnan(value) else f"{value:.6f}"


def _cell(value: Any) -> str:
    """A number for people: shares in per cent, counts as they are."""
    if isinstance(value, np.integer):
        return f"{value:,}"
    return "-" if math.isnan(value) else f"{100 * value:.2f} %"
