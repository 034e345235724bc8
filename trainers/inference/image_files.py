"""The image files that paths, folders and patterns name."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import tensorflow as tf

from keras_vit.errors import UserError, reason
from trainers import files
from trainers.data.files.scan import IMAGE_SUFFIXES, scan
from trainers.inference.predictor import Unreadable

STDIN = "-"
LIMIT = 2**30  # bytes; no image that can be decoded is larger


def named(paths: Iterable[str]) -> dict[str, Unreadable | None]:
    """All files, in order and each once, with the reason for those that already cannot be read.

    Args:
        paths: Paths, taken as they are if something is there: files whatever their names, folders for all image files
            below them, sorted. Anything else may be a pattern, as in a shell, `**` included. `-` reads paths from
            stdin; so do no paths at all.

    Raises:
        UserError: if they are to come from stdin, and that is a terminal, or there is none.
    """
    problems: dict[str, Unreadable | None] = {}
    for path in list(paths) or [STDIN]:
        for one in _piped(sys.stdin.buffer) if path == STDIN else [path]:
            for file, problem in _expanded(one):
                problems.setdefault(file, problem)
    if not problems:
        raise UserError("No image is named: stdin held no path.")
    return problems


def read(path: str) -> bytes | Unreadable:
    """What a file holds."""
    try:
        if "://" in path:
            return files.read_bytes(path)
        with open(path, "rb") as local:
            content = local.read(LIMIT + 1)
    except (OSError, ValueError, tf.errors.OpError) as error:
        return Unreadable(reason(error))
    return content if len(content) <= LIMIT else Unreadable(f"it has more than {LIMIT:,} bytes")


def _piped(stdin: BinaryIO) -> list[str]:
    """Paths from stdin: one per line, or as `find -print0` separates them."""
    if stdin.isatty():
        raise UserError(
            "No image is named: give files, folders or patterns behind the flags, or pipe in paths, one per line."
        )
    content = stdin.read()
    lines = content.split(b"\0") if b"\0" in content else [line.rstrip(b"\r") for line in content.split(b"\n")]
    return [os.fsdecode(line) for line in lines if line]


def _expanded(path: str) -> Iterator[tuple[str, Unreadable | None]]:
    """The files that one path names, or the path itself with what is wrong with it."""
    if path.startswith(("http://", "https://")):
        yield path, Unreadable("files are read from disks and buckets; download it first")
    elif files.is_folder(path) if "://" in path else os.path.isdir(path):
        yield from _below(path)
    elif "://" in path or os.path.exists(path):
        yield path, None
    elif not glob.has_magic(path):
        yield path, Unreadable("there is no such file")
    else:
        matches = sorted(glob.glob(path, recursive=True))
        for match in matches:
            yield from _below(match) if os.path.isdir(match) else [(match, None)]
        if not matches:
            yield path, Unreadable("nothing matches this pattern")


def _below(folder: str) -> Iterator[tuple[str, Unreadable | None]]:
    try:
        paths = sorted(os.fsdecode(path) for path in scan(folder, folder).paths)
    except UserError as error:
        yield folder, Unreadable(str(error).removeprefix(f"{folder}: ").rstrip("."))
        return
    for path in paths:
        yield os.path.join(folder, path), None
    if not paths:
        yield folder, Unreadable(f"the folder holds no image ({', '.join(IMAGE_SUFFIXES)})")
