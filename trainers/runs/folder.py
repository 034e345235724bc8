"""The folder of a run: what is in it, and how files get there whole or not at all."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import tempfile

FLAGS, MODEL, METRICS, RESULTS, LOGS = "flags.cfg", "model.keras", "metrics.csv", "results.json", "logs"
ALL = (FLAGS, MODEL, METRICS, LOGS, RESULTS)
PREVIOUS = ".previous"


def check(path: str, overwrite: bool) -> None:
    """Raises ValueError if a folder holds a finished run and `overwrite` is false, or something that no run wrote."""
    folder = pathlib.Path(path)
    try:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--run_dir={path} is a file; name a folder.")
        if (folder / PREVIOUS).is_dir():  # a run that was to replace this one was killed
            _bring_back(folder)
        entries = folder.iterdir() if folder.exists() else ()
        present = {entry.name for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        raise ValueError(f"--run_dir={path} cannot be read: {error.strerror}.") from error
    if present and FLAGS not in present:
        raise ValueError(f"--run_dir={path} holds {', '.join(sorted(present)[:3])}, which no run wrote; name another.")
    if RESULTS in present and not overwrite:
        raise ValueError(f"--run_dir={path} holds a finished run; add --overwrite to replace it, or name another.")


@contextlib.contextmanager
def claimed(path: str, flagfile: str):
    """A run's folder, for as long as the run lasts. A finished run in it is set aside; it comes back if this one fails.

    Args:
        path: The folder, made if need be.
        flagfile: The flag file that repeats the run.

    Raises:
        ValueError: if the folder cannot be written.
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / RESULTS).exists():
            (folder / PREVIOUS).mkdir()
            _move(folder, folder / PREVIOUS)
        write_text(folder / FLAGS, flagfile)
        for name in (MODEL, METRICS, LOGS):  # of a run that never finished
            _remove(folder / name)
    except OSError as error:
        raise ValueError(f"--run_dir={path} cannot be written: {error.strerror}.") from error
    try:
        yield folder
    except BaseException:
        if (folder / PREVIOUS).is_dir():
            _bring_back(folder)
        raise
    _remove(folder / PREVIOUS)


def _bring_back(folder: pathlib.Path) -> None:
    for name in ALL:
        _remove(folder / name)
    _move(folder / PREVIOUS, folder)
    _remove(folder / PREVIOUS)


def _move(source: pathlib.Path, target: pathlib.Path) -> None:
    """Moves a run's files, the one that says it is finished last."""
    for name in ALL:
        if (source / name).exists():
            os.replace(source / name, target / name)


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all."""
    replace_with(path, lambda temporary: pathlib.Path(temporary).write_text(text, encoding="utf-8"))


def write_json(path: pathlib.Path, value: dict) -> None:
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def replace_with(path: pathlib.Path, write) -> None:
    """Calls `write(temporary_path)`, then moves what it wrote into place in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        write(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in ("keras_vit", "keras", "tensorflow", "numpy", "tensorflow-datasets"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
