"""How predictions are written: a table for people, JSON and CSV for programs."""

import csv
import dataclasses
import io
import json
import os
import unicodedata
from collections.abc import Sequence
from typing import Any

from trainers.data.files.paths import shown
from trainers.inference.predictions import Prediction

LABEL_WIDTH = 48  # most columns of a class's name
ELLIPSIS = "…"


def as_table(predictions: Sequence[Prediction], width: int | None) -> str:
    """A line for each class, the file's name in the first; files without an answer are left out.

    Args:
        predictions: Predictions of a model with a head.
        width: Columns of the terminal, to which names are shortened; None to leave them as they are.
    """
    answered = [(printable(one.file), one.top) for one in predictions if one.top]
    if not answered:
        return ""
    names = [_shortened(printable(guess.label), LABEL_WIDTH) for _, top in answered for guess in top]
    label_width = max(map(columns, [*names, "class"]))
    room = 10**6 if width is None else max(12, width - label_width - len("    100.00"))
    files = [_shortened(file, room) for file, _ in answered]
    file_width = max(map(columns, [*files, "file"]))
    lines = [f"{_padded('file', file_width)}  {_padded('class', label_width)}  {'%':>6}"]
    remaining = iter(names)
    for file, (_, top) in zip(files, answered, strict=True):
        for rank, guess in enumerate(top):
            label = _padded(next(remaining), label_width)
            lines.append(f"{_padded('' if rank else file, file_width)}  {label}  {100 * guess.probability:6.2f}")
    return "\n".join(lines) + "\n"


def as_json(predictions: Sequence[Prediction], width: int | None = None) -> str:
    """One array with an object for each file: `file`, and `top`, `features` or `error`."""
    return "[\n" + ",\n".join(json.dumps(_plain(one), ensure_ascii=False) for one in predictions) + "\n]\n"


def as_csv(predictions: Sequence[Prediction], width: int | None = None) -> str:
    """A line for each class, `file,rank,label,index,probability,error`, or `file,error,0,1,...` of features."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    size = next((len(one.features) for one in predictions if one.features is not None), 0)
    writer.writerow(
        ["file", "error", *range(size)] if size else ["file", "rank", "label", "index", "probability", "error"]
    )
    for one in predictions:
        file = _name(one.file)
        if size:
            numbers = [""] * size if one.features is None else one.features.tolist()
            writer.writerow([file, one.error or "", *numbers])
        elif one.error is not None:
            writer.writerow([file, "", "", "", "", one.error])
        for rank, guess in enumerate(one.top, 1):
            writer.writerow([file, rank, guess.label, guess.index, guess.probability, ""])
    return text.getvalue()


def _plain(one: Prediction) -> dict[str, Any]:
    """As JSON has it."""
    file = {"file": _name(one.file)}
    if one.error is not None:
        return {**file, "error": one.error}
    if one.features is not None:
        return {**file, "features": one.features.tolist()}
    return {**file, "top": [dataclasses.asdict(guess) for guess in one.top]}


def _name(path: str) -> str:
    """A path as text, whatever bytes it is made of."""
    return shown(os.fsencode(path))


def printable(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in _name(text))


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _shortened(text: str, width: int) -> str:
    """Its beginning and its end, of which there is more, for that is where names differ."""
    if columns(text) <= width:
        return text
    start = end = ""
    while columns(start) < width // 3:
        start += text[len(start)]
    while columns(start) + columns(end) + 1 < width:
        end = text[-len(end) - 1] + end
    while columns(start) + columns(end) + 1 > width:
        end = end[1:]
    return start + ELLIPSIS + end


# Name of a format -> from predictions and the columns of a terminal, if it is for one, to a text.
FORMATS = {"table": as_table, "json": as_json, "csv": as_csv}
