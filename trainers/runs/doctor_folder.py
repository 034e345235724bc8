"""The folder of a data doctor's report."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from trainers.engine.checkpoint import reason
from trainers.runs import folder

REPORT = "doctor.json"
SHEET = "contact_sheet_"


def check(path: str) -> None:
    """Raises ValueError if a folder cannot be read, or holds something but no earlier report."""
    try:
        if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
            raise ValueError(f"--output={path} is a file; name a folder.")
        names = tf.io.gfile.listdir(path) if tf.io.gfile.isdir(path) else []
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"--output={path} cannot be read: {reason(error)}.") from error
    present = {name.rstrip("/") for name in names if not name.startswith(".")}
    if present and REPORT not in present:
        raise ValueError(
            f"--output={path} holds {', '.join(sorted(present)[:3])}, which is no earlier report; name another folder."
        )


def write(
    path: str,
    found: Mapping[str, Any],
    tables: Mapping[str, Iterable[tuple]],
    sheets: Iterable[tuple[str, Any]],
) -> list[str]:
    """Writes a report, in the place of an earlier one, and returns the names of its files.

    Args:
        path: The folder, made if need be.
        found: For doctor.json, which is written last.
        tables: By name of a file, its rows, the head first.
        sheets: Name and pixels, uint8 (H, W, 3), of each contact sheet.

    Raises:
        Unwritable: with the reason.
    """
    names = []
    try:
        tf.io.gfile.makedirs(path)
        earlier = [name for name in tf.io.gfile.listdir(path) if name.endswith(".csv") or name.startswith(SHEET)]
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"--output={path} cannot be written: {reason(error)}.") from error
    for name, rows in tables.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        folder.write_text(os.path.join(path, name), text.getvalue())
        names.append(name)
    for name, pixels in sheets:
        names.append(f"{SHEET}{name}.png")
        png = tf.io.encode_png(pixels)
        folder.replace_with(os.path.join(path, names[-1]), lambda file, png=png: tf.io.write_file(file, png))  # type: ignore[misc]
    folder.write_json(os.path.join(path, REPORT), {**found, "files": names})
    for name in set(earlier) - set(names):
        tf.io.gfile.remove(os.path.join(path, name))
    return [REPORT, *names]
