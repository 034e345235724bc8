"""The folder of a data doctor's report: doctor.json, tables and contact sheets."""

import csv
import functools
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_vit.errors import UserError, reason
from trainers import files, run_dir
from trainers.files import Unwritable
from trainers.inspection.findings import Finding
from trainers.inspection.subject import Subject

REPORT = "doctor.json"
SHEET = "contact_sheet_"

_PROBE = ".probe"  # a file that is made and removed, to see whether one can be


def check(path: str) -> None:
    """Raises UserError if a folder cannot be read, or holds something but no earlier report."""
    present = run_dir.names_in(path, "output")
    if present and REPORT not in present:
        raise UserError(
            f"--output={path} holds {', '.join(sorted(present)[:3])}, which is no earlier report; name another folder."
        )


def make(path: str) -> None:
    """Makes a folder, and tries whether it takes a file.

    Raises:
        UserError: if it does not.
    """
    try:
        files.make_folder(path)
        files.write_text(os.path.join(path, _PROBE), "")
        files.remove(os.path.join(path, _PROBE))
    except Unwritable as error:
        raise UserError(f"--output={path} takes no files: {error}") from error
    except files.ERRORS as error:
        raise UserError(f"--output={path} cannot be written: {reason(error)}.") from error


def write(
    path: str,
    report: Mapping[str, Any],
    tables: Mapping[str, Iterable[tuple]],
    sheets: Iterable[tuple[str, Any]],
) -> list[str]:
    """Writes a report, in the place of an earlier one, and returns the names of its files.

    What the earlier one says that it wrote is removed where it is not written again; other files stay.

    Args:
        path: The folder, which `make` has made.
        report: Contents of doctor.json, which is written last.
        tables: Tables by name of a file: its rows, the head first.
        sheets: Name and pixels, uint8 (H, W, 3), of each contact sheet.

    Raises:
        Unwritable: with the reason.
    """
    earlier, names = _written_before(path), []
    for name, rows in tables.items():
        files.replace_with(os.path.join(path, name), functools.partial(_write_rows, rows))
        names.append(name)
    for name, pixels in sheets:
        names.append(f"{SHEET}{name}.png")
        files.replace_with(os.path.join(path, names[-1]), functools.partial(_write_bytes, tf.io.encode_png(pixels)))
    files.write_json(os.path.join(path, REPORT), {**report, "files": names})
    for name in earlier - set(names):
        if files.exists(os.path.join(path, name)):
            files.remove(os.path.join(path, name))
    return [REPORT, *names]


def tables(subject: Subject, findings: Sequence[Finding]) -> dict[str, Iterable[tuple]]:
    """The rows of each CSV file, its head first; made one by one, for there may be millions."""
    return {
        "findings.csv": itertools.chain([("level", "check", "split", "image", "detail")], images_of(findings)),
        "duplicates.csv": itertools.chain(
            [("group", "kind", "distance", "source", "split", "image", "label")], duplicates_of(subject)
        ),
        "bad_images.csv": itertools.chain([("split", "image", "reason")], bad_images_of(subject)),
    }


def images_of(findings: Sequence[Finding]) -> Iterator[tuple]:
    """A row for each image that a finding names."""
    for finding in findings:
        for image in finding.images():
            yield finding.level, finding.check, *image


def duplicates_of(subject: Subject) -> Iterator[tuple]:
    """A row for each image of each group; kind and distance are to the group's first, where the two are linked."""
    for number, group in enumerate(subject.groups, 1):
        first = group.members[0]
        for member in group.members:
            part = subject.part(member.part)
            kind, distance = group.link(first, member) or ("connected", "")
            columns = part.source.name, part.name, part.split.locate(member.example), part.words(member.example)
            yield number, "first" if member is first else kind, distance, *columns


def bad_images_of(subject: Subject) -> Iterator[tuple]:
    """A row for each image of the source that cannot be read."""
    for part in subject.parts:
        for index in part.scan.unreadable.tolist():
            yield part.name, part.split.locate(index), part.scan.reason(index)


def _written_before(path: str) -> set[str]:
    """The files that the report in a folder says it consists of; none where it cannot be read."""
    try:
        names = json.loads(files.read_text(os.path.join(path, REPORT)))["files"]
        return {
            name for name in names if name.endswith(".csv") or name.startswith(SHEET) if os.path.basename(name) == name
        }
    except (*files.ERRORS, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _write_rows(rows: Iterable[tuple], path: str) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write_bytes(data: Any, path: str) -> None:
    tf.io.write_file(path, data)
