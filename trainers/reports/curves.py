"""curves.png: how a run went, drawn from its metrics.csv."""

import csv
import functools
import io
import os
import sys
from typing import Any

from keras_vit.errors import UserError, reason
from trainers import files
from trainers import run_dir as folder
from trainers.reports import pictures

# Panels from top to bottom: title, then the columns drawn in it and their names there.
PANELS = {
    "loss": {"loss": "training", "val_loss": "validation"},
    "accuracy": {"accuracy": "training", "val_accuracy": "validation"},
    "learning rate": {"learning_rate": "of the last update"},
}


def curves(run_dir: str) -> bool:
    """Draws `curves.png` into a run's folder: loss, accuracy and learning rate by step.

    Args:
        run_dir: The folder; any path that tf.io.gfile understands.

    Returns:
        Whether it was drawn: not without Matplotlib, nor if nothing has been measured yet; a line says so.

    Raises:
        UserError: if the folder has no metrics.csv.
        Unwritable: with the reason.
    """
    series = _series(os.path.join(run_dir, folder.METRICS))
    panels = {
        title: {name: series[column] for column, name in columns.items() if column in series}
        for title, columns in PANELS.items()
    }
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        print(
            f"note: {os.path.join(run_dir, folder.CURVES)} is left out; {folder.METRICS} has no rows yet.",
            file=sys.stderr,
        )
        return False
    return pictures.write(
        os.path.join(run_dir, folder.CURVES), functools.partial(_draw, panels=panels), 8, 0.6 + 2.4 * len(panels)
    )


def _series(path: str) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values of each column that has any. Cells are empty where a row has no such measurement."""
    try:
        rows = list(csv.DictReader(io.StringIO(files.read_text(path))))
    except files.ERRORS as error:
        raise UserError(f"{path} cannot be read: {reason(error)}.") from error
    series: dict[str, tuple[list[int], list[float]]] = {}
    for number, row in enumerate(rows, 2):
        try:
            measured = {column: float(cell) for column, cell in row.items() if cell}
            step = int(row["step"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, row {number}: a step and other numbers expected; got {row}.") from error
        for column, value in measured.items():
            steps, values = series.setdefault(column, ([], []))
            steps.append(step)
            values.append(value)
    return series


def _draw(figure: Any, panels: dict[str, dict[str, tuple[list[int], list[float]]]]) -> None:
    axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for name, (steps, values) in lines.items():
            # Few points, such as those of evaluations, would be lost as a line.
            axis.plot(steps, values, label=name, marker="o" if len(steps) < 30 else None, markersize=3)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend()
    axes[-1].set_xlabel("step")
