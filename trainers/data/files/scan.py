"""All image files below a folder, of this machine or a bucket."""

import array
import collections
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError, reason
from trainers.data.files import paths

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "gif", "bmp", "webp")

_SUFFIXES = frozenset(suffix.encode() for suffix in IMAGE_SUFFIXES)


class Listing(NamedTuple):
    """N image files, in the order of their places.

    Args:
        paths: Paths relative to the folder, with /.
        places: uint64 (N,); see `paths.places`.
        folders: Folders that hold images, relative; b"" is the folder itself.
        folder_of: int32 (N,): number of the folder that each file lies in.
        sizes: int64 (N,), bytes of each file, 0 for a broken link; None in a bucket.
        others: Number of files of other kinds, by suffix.
    """

    paths: list[bytes]
    places: np.ndarray
    folders: list[bytes]
    folder_of: np.ndarray
    sizes: np.ndarray | None
    others: collections.Counter[str]


class _Entry(NamedTuple):
    name: bytes
    is_folder: bool
    size: int = 0


def scan(root: str, flag: str) -> Listing:
    """Looks for image files in a folder and below; what begins with a dot, and __MACOSX, is left out.

    Links are followed. Broken ones count as files, so that somebody hears of them once they are read.

    Args:
        root: The folder.
        flag: Flag with its value, with which messages begin.

    Raises:
        UserError: if a folder cannot be listed, or a link leads back to a folder that it lies in.
    """
    files: list[bytes] = []
    folders: list[bytes] = []
    others: collections.Counter[str] = collections.Counter()
    folder_of, sizes = array.array("i"), array.array("q")
    waiting: list[tuple[bytes, frozenset]] = [(b"", frozenset())]
    with tqdm(desc=f"Looking through {root}", unit=" files", delay=2, leave=False) as bar:
        while waiting:
            folder, above = waiting.pop()
            prefix = folder + b"/" if folder else b""
            entries, chain = _entries(root, folder, above, flag)
            for entry in entries:
                suffix = _suffix(entry.name)
                if entry.is_folder:
                    waiting.append((prefix + entry.name, chain))
                elif suffix in _SUFFIXES:
                    files.append(prefix + entry.name)
                    sizes.append(entry.size)
                else:
                    others[paths.shown(suffix)] += 1
            if len(files) > len(folder_of):
                folder_of.extend([len(folders)] * (len(files) - len(folder_of)))
                folders.append(folder)
            bar.update(len(entries))
    places = paths.places(files)
    order = np.argsort(places)
    return Listing(
        [files[row] for row in order],
        places[order],
        folders,
        np.array(folder_of, "int32")[order],
        None if "://" in root else np.array(sizes, "int64")[order],
        others,
    )


def _entries(root: str, folder: bytes, above: frozenset, flag: str) -> tuple[list[_Entry], frozenset]:
    """What a folder holds, and the identities of it and the folders it lies in."""
    path = paths.located(root, folder)
    try:
        if b"://" in path:
            return [entry for entry in _remote(path.decode().rstrip("/")) if not _ignored(entry.name)], above
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise UserError(f"{flag}: {paths.shown(path)} is a link to a folder that it lies in; remove the link.")
        return [entry for entry in _local(path) if not _ignored(entry.name)], above | {identity}
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"{flag}: {paths.shown(path)} cannot be listed: {reason(error)}.") from error


def _local(folder: bytes) -> Iterator[_Entry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield _Entry(entry.name, True)
                continue
            try:
                size = entry.stat().st_size
            except OSError:  # a broken link
                size = 0
            yield _Entry(entry.name, False, size)


def _remote(folder: str) -> Iterator[_Entry]:
    """tf.io.gfile.walk would ask for each of a million images whether it is a folder."""
    for name in tf.io.gfile.listdir(folder):
        plain = name.rstrip("/")
        is_image = _suffix(plain.encode()) in _SUFFIXES
        is_folder = name != plain or (not is_image and tf.io.gfile.isdir(f"{folder}/{plain}"))
        yield _Entry(plain.encode(), is_folder)


def _suffix(name: bytes) -> bytes:
    _, dot, suffix = name.rpartition(b".")
    return suffix.lower() if dot else b""


def _ignored(name: bytes) -> bool:
    return name.startswith(b".") or name in (b"", b"__MACOSX")
