"""Arrays that were found out about files, cached in a file so that they are found out once."""

import concurrent.futures
import hashlib
import json
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError, reason
from trainers import files as whole_files

UNREADABLE = (*whole_files.ERRORS, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


def cached(
    files: Sequence[str], key: str, compute: Callable[[Sequence[int]], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What is known about files: from the file in which it is cached, or found out now and cached.

    It is cached beside the files or, where that folder cannot be written, in the user's cache folder; and found out
    again once a file's size or time of change is another, or what was cached is damaged.

    Args:
        files: Paths, of anything that tf.io.gfile understands.
        key: Name of what is found out about them; arrays with different keys are cached apart.
        compute: Function from the files' sizes to arrays; objects are none.
    """
    sizes, times = sizes_and_times(files)
    stamp = json.dumps([key, [os.path.basename(file) for file in files], sizes, times])
    places = _places(files, key)
    for place in places:
        arrays = _load(place, stamp)
        if arrays is not None:
            return arrays
    arrays = compute(sizes)
    stamped = arrays | {"stamp": np.frombuffer(stamp.encode(), "uint8")}
    for place in places:
        try:
            whole_files.make_folder(os.path.dirname(place) or ".")
            write_arrays(place, stamped)
            return arrays
        except whole_files.ERRORS:
            continue
    tried = " or ".join(places)
    print(f"The index of {files[0]} could not be kept in {tried}; it will be built again.", file=sys.stderr)
    return arrays


def write_arrays(path: str, arrays: Mapping[str, Any]) -> None:
    """Writes a `.npz` file whole or not at all; raises Unwritable."""
    whole_files.replace_with(path, lambda temporary: np.savez(temporary, **arrays))


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file; one of UNREADABLE is raised if it is none, or damaged."""
    with whole_files.opened(path) as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def sizes_and_times(files: Sequence[str]) -> tuple[list[int], list[int]]:
    """Size and time of change of each file; asked for side by side, for a bucket takes its time over each.

    Raises:
        UserError: if one is not there, or nothing may be known of it.
    """

    def size_and_time(file: str):
        try:
            if not whole_files.is_remote(file):  # of local files, tf.io.gfile tells times in whole seconds
                return os.stat(file).st_size, os.stat(file).st_mtime_ns
            status = tf.io.gfile.stat(file)
            return status.length, status.mtime_nsec
        except (FileNotFoundError, tf.errors.NotFoundError):
            raise UserError(f"{file} is missing.") from None
        except whole_files.ERRORS as error:
            raise UserError(f"{file} cannot be read: {reason(error)}; see who may read it.") from error

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        sizes, times = zip(*pool.map(size_and_time, files), strict=True)
    return list(sizes), list(times)


def _places(files: Sequence[str], key: str) -> tuple[str, str]:
    """Where arrays about files may be cached: beside the first of them, so that they move with it, or in the cache."""
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
    """What a file has cached, or None where it is missing, damaged, or about files as they no longer are."""
    try:
        arrays = read_arrays(path)
        return arrays if arrays.pop("stamp").tobytes() == stamp.encode() else None
    except UNREADABLE:
        return None
