"""Arrays that were found out about files, kept in a file so that they are found out once."""

import concurrent.futures
import hashlib
import io
import json
import os
import sys
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError

UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, tf.errors.OpError)


def kept(
    files: Sequence[str], key: str, find_out: Callable[[Sequence[int]], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What is known about files: from the file in which it is kept, or found out now and kept.

    It is kept beside the files or, where that folder cannot be written, in the user's cache folder; and found out again
    once a file's size or time of change is another, or what was kept is damaged.

    Args:
        files: Paths, of anything that tf.io.gfile understands.
        key: What is found out about them; things with different keys are kept apart.
        find_out: From the files' sizes to arrays; objects are none.
    """
    sizes, times = sizes_and_times(files)
    stamp = json.dumps([key, [os.path.basename(file) for file in files], sizes, times])
    places = _places(files, key)
    for place in places:
        arrays = _load(place, stamp)
        if arrays is not None:
            return arrays
    arrays = find_out(sizes)
    stamped = arrays | {"stamp": np.frombuffer(stamp.encode(), "uint8")}
    for place in places:
        try:
            tf.io.gfile.makedirs(os.path.dirname(place) or ".")
            write_arrays(place, stamped)
            return arrays
        except (OSError, tf.errors.OpError):
            continue
    where = " or ".join(places)
    print(f"The index of {files[0]} could not be kept in {where}; it will be built again.", file=sys.stderr)
    return arrays


def write_arrays(path: str, arrays: Mapping[str, Any]) -> None:
    """Writes a `.npz` file whole or not at all."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    write_whole(path, file.getvalue())


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file; one of UNREADABLE is raised if it is none, or damaged."""
    with tf.io.gfile.GFile(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def write_whole(path: str, data: bytes) -> None:
    """Writes a file whole or not at all."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}-{uuid.uuid4().hex[:8]}.partial")
    try:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except BaseException:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)
        raise


def sizes_and_times(files: Sequence[str]) -> tuple[list[int], list[int]]:
    """Size and time of change of each file; asked for side by side, for a bucket takes its time over each.

    Raises:
        UserError: if one is not there.
    """

    def asked(file):
        try:
            if "://" not in file:  # of local files, tf.io.gfile tells times in whole seconds
                return os.stat(file).st_size, os.stat(file).st_mtime_ns
            found = tf.io.gfile.stat(file)
            return found.length, found.mtime_nsec
        except (FileNotFoundError, tf.errors.NotFoundError):
            raise UserError(f"{file} is missing.") from None

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        sizes, times = zip(*pool.map(asked, files), strict=True)
    return list(sizes), list(times)


def _places(files: Sequence[str], key: str) -> tuple[str, str]:
    """Where arrays about files may be kept: beside the first of them, so that they move with it, or in the cache."""
    folder = os.path.dirname(files[0])
    names = [os.path.relpath(file, folder) if "://" not in file else file for file in files]
    absolute = folder if "://" in folder else os.path.abspath(folder)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return (
        os.path.join(folder, f".index-{_hash([key, names])}.npz"),
        os.path.join(cache, "keras_vit", f"index-{_hash([key, names, absolute])}.npz"),
    )


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _load(path: str, stamp: str) -> dict[str, np.ndarray] | None:
    """What a file keeps, or None where it is missing, damaged, or about files as they no longer are."""
    try:
        arrays = read_arrays(path)
        return arrays if arrays.pop("stamp").tobytes() == stamp.encode() else None
    except UNREADABLE:
        return None
