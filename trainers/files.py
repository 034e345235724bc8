"""Reading and writing files whole or not at all, on disks and in buckets: any path that tf.io.gfile understands.

The one room that knows how file systems differ: object stores have no folders to rename and no locks, and ram://
appends where others begin a file anew.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from keras_vit.errors import UserError, reason

# What a file system raises, whichever it is.
ERRORS = (OSError, tf.errors.OpError)
# Of these, what tells that a file is not what was once written.
BROKEN = (FileNotFoundError, tf.errors.NotFoundError, tf.errors.OutOfRangeError, tf.errors.DataLossError)


class Unwritable(OSError):
    """A file or folder that could not be written."""

    exit_code = 1


class Unreadable(OSError):
    """What cannot be read at the moment; nothing is known of its contents."""

    exit_code = 1


def is_remote(path: str) -> bool:
    return "://" in path


def exists(path: str) -> bool:
    return tf.io.gfile.exists(path)


def is_folder(path: str) -> bool:
    return tf.io.gfile.isdir(path)


def names(folder: str) -> list[str]:
    """Names of what lies in a folder, sorted; empty without the folder."""
    return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(folder)) if is_folder(folder) else []


def make_folder(path: str) -> None:
    tf.io.gfile.makedirs(path)


def opened(path: str, mode: str = "rb") -> Any:
    """A file object: of bytes if the mode has a `b`, else of text in UTF-8."""
    return tf.io.gfile.GFile(path, mode)


def read_text(path: str) -> str:
    with opened(path, "r") as file:
        return file.read()


def read_bytes(path: str) -> bytes:
    with opened(path) as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    """Writes a file whole or not at all.

    Raises:
        Unwritable: with the reason; what was there is still there.
    """

    def write(temporary: str) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)

    replace_with(path, write)


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Writes a file whole or not at all; its values are finite. Errors as of `write_text`."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_anew(path: str, text: str) -> None:
    """Writes a text file in place, for those that are appended to."""
    if exists(path):  # ram:// would append
        tf.io.gfile.remove(path)
    with opened(path, "w") as file:
        file.write(text)


def replace_with(path: str, write: Callable[[str], Any]) -> None:
    """Calls `write(local_path)`, then brings what it wrote into place in one step.

    Raises:
        Unwritable: with the reason; what was there is still there.
    """
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    remote = is_remote(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=None if remote else folder or ".", prefix=f".{stem}-", suffix=suffix)
        os.close(handle)
        try:
            write(temporary)
            if path.startswith("ram://"):  # which would append
                remove(path)
            if remote:  # where an object appears when it is whole
                tf.io.gfile.copy(temporary, path, overwrite=True)
            else:
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    except ERRORS as error:
        raise Unwritable(f"{path} cannot be written: {reason(error)}.") from error


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A path that any library can open: of what is on no disk a copy, for as long as the context lasts."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copied = os.path.join(folder, os.path.basename(path))
        copy(path, copied)
        yield copied


def copy(source: str, target: str) -> None:
    tf.io.gfile.copy(source, target, overwrite=True)


def remove(path: str) -> None:
    """Removes a file or folder, if there is one."""
    if is_folder(path):
        tf.io.gfile.rmtree(path)
    elif exists(path):
        tf.io.gfile.remove(path)


def move(source: str, target: str) -> None:
    """Moves a file or folder, if there is one. A file at a time where folders are none, but only parts of names."""
    if not is_folder(source) or not is_remote(source):
        if exists(source):
            tf.io.gfile.rename(source, target)
        return
    make_folder(target)
    for name in names(source):
        move(os.path.join(source, name), os.path.join(target, name))
    tf.io.gfile.rmtree(source)


@contextlib.contextmanager
def locked(path: str, taken: str) -> Iterator[None]:
    """Holds a lock file, where the file system has locks. The system lets go of it when the process ends.

    Args:
        path: The lock file, in a folder that is there.
        taken: Message if another process holds it.

    Raises:
        UserError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if is_remote(path):  # object stores have no locks
        yield
        return
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(taken) from None
        except OSError:  # a file system without locks, as some of clusters are
            yield
            return
        try:
            yield
        finally:
            os.remove(path)


class Hashed:
    """A file of bytes that keeps the size and the checksum of what goes through it.

    Args:
        path: Path of the file.
        mode: `wb` or `rb`.
    """

    def __init__(self, path: str, mode: str = "wb"):
        self._file = opened(path, mode)
        if mode == "wb":
            self._file.write(b"")  # without a first write there would be no file
        self._hash = hashlib.sha256()
        self._size = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def write(self, data: bytes) -> None:
        self._count(data)
        self._file.write(data)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count(data)
        return data

    def fingerprint(self) -> dict[str, Any]:
        return {"bytes": self._size, "sha256": self._hash.hexdigest()}

    def _count(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)


def fingerprint(path: str) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with Hashed(path, "rb") as file:
        while file.read(2**20):
            pass
        return file.fingerprint()


class Summaries:
    """TensorBoard's event files in a folder."""

    def __init__(self, folder: str):
        self._writer = tf.summary.create_file_writer(folder)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes numbers by name; errors as of `ERRORS`."""
        with self._writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
