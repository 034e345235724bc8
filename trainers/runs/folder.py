"""The folder of a run: what is in it, and how files get there whole or not at all.

It may be any path that tf.io.gfile understands, such as gs://bucket/run.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator

import tensorflow as tf

FLAGS, MODEL, METRICS, RESULTS, LOGS = "flags.cfg", "model.keras", "metrics.csv", "results.json", "logs"
CHECKPOINTS = "checkpoint"
LOCK = ".lock"


def check(path: str, overwrite: bool) -> None:
    """Raises ValueError if a folder holds a finished run and `overwrite` is false, or something that no run wrote."""
    try:
        if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
            raise ValueError(f"--run_dir={path} is a file; name a folder.")
        names = tf.io.gfile.listdir(path) if tf.io.gfile.isdir(path) else []
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"--run_dir={path} cannot be read: {reason(error)}.") from error
    present = {name.rstrip("/") for name in names if not name.startswith(".")}
    if present and FLAGS not in present:
        raise ValueError(f"--run_dir={path} holds {', '.join(sorted(present)[:3])}, which no run wrote; name another.")
    if RESULTS in present and not overwrite:
        raise ValueError(f"--run_dir={path} holds a finished run; add --overwrite to replace it, or name another.")


def unfinished(path: str) -> str | None:
    """The flag file of the unfinished run in a folder, or None where there is none."""
    if tf.io.gfile.exists(os.path.join(path, RESULTS)) or not tf.io.gfile.exists(os.path.join(path, FLAGS)):
        return None
    with tf.io.gfile.GFile(os.path.join(path, FLAGS), "r") as file:
        return file.read()


def previous(path: str) -> str:
    """Where the finished run of a folder waits while another is replacing it."""
    return f"{path.rstrip('/')}.previous"


@contextlib.contextmanager
def claimed(path: str, flagfile: str, resumed: bool) -> Iterator[str]:
    """A run's folder, for as long as the run lasts; nobody else may run in it meanwhile.

    A finished run in it is moved to `previous(path)`, where it stays until this one has finished as well.

    Args:
        path: The folder, made if need be.
        flagfile: The flag file that repeats the run.
        resumed: Whether the unfinished run that is there goes on; otherwise its files are removed.

    Raises:
        ValueError: if the folder cannot be written, or a run is under way in it.
    """
    with contextlib.ExitStack() as lock:
        try:
            if tf.io.gfile.exists(os.path.join(path, RESULTS)):
                _remove(previous(path))
                tf.io.gfile.rename(path, previous(path))
            tf.io.gfile.makedirs(path)
            lock.enter_context(_locked(path))
            if not resumed:
                for name in (CHECKPOINTS, MODEL, METRICS, LOGS):
                    _remove(os.path.join(path, name))
            write_text(os.path.join(path, FLAGS), flagfile)
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"--run_dir={path} cannot be written: {reason(error)}.") from error
        try:
            yield path
        except BaseException:
            if tf.io.gfile.isdir(previous(path)):
                print(f"The finished run that was in {path} is in {previous(path)}.", file=sys.stderr)
            raise
        _remove(previous(path))


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Holds a lock on a local folder. The system releases it when the process ends, however it does."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    if "://" in path:  # object stores have no locks
        yield
        return
    with open(os.path.join(path, LOCK), "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"--run_dir={path}: another process is training there; name another folder.") from None
        try:
            yield
        finally:
            os.remove(os.path.join(path, LOCK))


def _remove(path: str) -> None:
    if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
    elif tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def write_text(path: str, text: str) -> None:
    """Writes a file whole or not at all."""

    def write(temporary):
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)

    replace_with(path, write)


def write_json(path: str, value: dict) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def replace_with(path: str, write: Callable[[str], None]) -> None:
    """Calls `write(local_path)`, then brings what it wrote into place in one step."""
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    remote = "://" in path
    handle, temporary = tempfile.mkstemp(dir=None if remote else folder, prefix=f".{stem}-", suffix=suffix)
    os.close(handle)
    try:
        write(temporary)
        if remote:  # where an object appears when it is whole
            _remove(path)
            tf.io.gfile.copy(temporary, path)
        else:
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def reason(error: Exception) -> str:
    """What a file system said, in one line."""
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return str(text).partition("\n")[0]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in ("keras_vit", "keras", "tensorflow", "numpy", "tensorflow-datasets"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
