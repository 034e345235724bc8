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

from trainers.engine.checkpoint import Unwritable, reason

FLAGS, MODEL, METRICS, RESULTS, LOGS = "flags.cfg", "model.keras", "metrics.csv", "results.json", "logs"
BAD_IMAGES, PICTURES = "bad_images.csv", "pictures"
PER_CLASS, CONFUSION, CONFUSION_PICTURE = "per_class.csv", "confusion.csv", "confusion.png"
CURVES, CARD, CARD_JSON = "curves.png", "card.md", "card.json"
EXPORT = "export"  # versions of the model in other formats, of which a new model must not inherit any
REPORTS = (PER_CLASS, CONFUSION, CONFUSION_PICTURE, CURVES, PICTURES, CARD, CARD_JSON, EXPORT)
PARTS = ("rate_", "seed_")  # beginnings of names of runs within a run; see trainers/finetuning/protocol.py
CHECKPOINTS, BEST = "checkpoint", "best.keras"  # the best lies in the folder of checkpoints
LOCK, SET_ASIDE = ".lock", ".set_aside"


def check(path: str, overwrite: bool) -> None:
    """Raises ValueError if a folder holds a finished run and `overwrite` is false, or something that no run wrote."""
    present = names_in(path, "run_dir")
    if present and FLAGS not in present:
        raise ValueError(f"--run_dir={path} holds {', '.join(sorted(present)[:3])}, which no run wrote; name another.")
    if RESULTS in present and not overwrite:
        raise ValueError(f"--run_dir={path} holds a finished run; add --overwrite to replace it, or name another.")


def names_in(path: str, flag: str) -> set[str]:
    """What lies in the folder that a flag names, but for hidden files; nothing where there is no folder.

    Raises:
        ValueError: if it is a file, or cannot be read.
    """
    try:
        if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
            raise ValueError(f"--{flag}={path} is a file; name a folder.")
        names = tf.io.gfile.listdir(path) if tf.io.gfile.isdir(path) else []
    except (OSError, tf.errors.OpError) as error:
        raise ValueError(f"--{flag}={path} cannot be read: {reason(error)}.") from error
    return {name.rstrip("/") for name in names if not name.startswith(".")}


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
def claimed(path: str, flagfile: str, overwrite: bool, resumed: bool) -> Iterator[str]:
    """A run's folder, for as long as the run lasts; nobody else may run in it meanwhile.

    A finished run in it is moved to `previous(path)`, where it stays until this one has finished as well.

    Args:
        path: The folder, made if need be.
        flagfile: The flag file that repeats the run.
        overwrite: Whether a finished run may be replaced.
        resumed: Whether the unfinished run that is there goes on; otherwise its files are removed.

    Raises:
        ValueError: if the folder cannot be written, or a run is under way in it.
    """
    with contextlib.ExitStack() as lock:
        try:
            tf.io.gfile.makedirs(path)
            lock.enter_context(_locked(path))
            check(path, overwrite)  # again, now that nobody else can finish a run there
            if tf.io.gfile.exists(os.path.join(path, RESULTS)):
                _set_aside(path)
            if not resumed:
                for name in (*_parts(path), CHECKPOINTS, MODEL, METRICS, LOGS, BAD_IMAGES, *REPORTS):
                    _remove(os.path.join(path, name))
            if not resumed or flagfile != unfinished(path):
                write_text(os.path.join(path, FLAGS), flagfile)
        except (OSError, tf.errors.OpError) as error:
            raise ValueError(f"--run_dir={path} cannot be written: {reason(error)}.") from error
        try:
            yield path
        except BaseException:
            if _is_set_aside(path):
                print(f"The finished run that was in {path} is in {previous(path)}.", file=sys.stderr)
            raise
        if _is_set_aside(path):
            _remove(previous(path))


def _set_aside(path: str) -> None:
    """Moves a finished run, what says that it is one last.

    Raises:
        ValueError: if something else is where it should go.
    """
    aside = previous(path)
    if tf.io.gfile.exists(aside) and not _is_set_aside(path):
        raise ValueError(f"{aside} is in the way: the run that is replaced would wait there. Move it or remove it.")
    _remove(aside)
    tf.io.gfile.makedirs(aside)
    with tf.io.gfile.GFile(os.path.join(aside, SET_ASIDE), "w") as file:
        file.write(f"The run that another is replacing in {path}; removed when that has finished.\n")
    for name in (*_parts(path), LOGS, CHECKPOINTS, METRICS, BAD_IMAGES, *REPORTS, MODEL, FLAGS, RESULTS):
        _move(os.path.join(path, name), os.path.join(aside, name))


def _parts(path: str) -> list[str]:
    """Folders of the runs that a protocol of several consists of."""
    return sorted(name for name in names_in(path, "run_dir") if name.startswith(PARTS))


def _is_set_aside(path: str) -> bool:
    """Whether what lies in `previous(path)` was put there by us."""
    return tf.io.gfile.exists(os.path.join(previous(path), SET_ASIDE))


def _move(source: str, target: str) -> None:
    """Moves a file or folder. A file at a time where folders are none, but only parts of names."""
    if not tf.io.gfile.isdir(source) or "://" not in source:
        if tf.io.gfile.exists(source):
            tf.io.gfile.rename(source, target)
        return
    tf.io.gfile.makedirs(target)
    for name in tf.io.gfile.listdir(source):
        _move(os.path.join(source, name.rstrip("/")), os.path.join(target, name.rstrip("/")))
    tf.io.gfile.rmtree(source)


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
        except OSError:  # a file system without locks, as some of clusters are
            yield
            return
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
    """Calls `write(local_path)`, then brings what it wrote into place in one step.

    Raises:
        Unwritable: with the reason; what was there is still there.
    """
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    remote = "://" in path
    try:
        handle, temporary = tempfile.mkstemp(dir=None if remote else folder, prefix=f".{stem}-", suffix=suffix)
        os.close(handle)
        try:
            write(temporary)
            if path.startswith("ram://"):  # which would append
                _remove(path)
            if remote:  # where an object appears when it is whole
                tf.io.gfile.copy(temporary, path, overwrite=True)
            else:
                os.chmod(temporary, 0o644)
                os.replace(temporary, path)
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
    except (OSError, tf.errors.OpError) as error:
        raise Unwritable(f"{path} cannot be written: {reason(error)}.") from error


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in ("keras_vit", "keras", "tensorflow", "numpy", "tensorflow-datasets"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
