"""The folder of a run: what is in it, and how files get there whole or not at all."""

import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import tempfile

FLAGS, MODEL, METRICS, RESULTS, LOGS = "flags.cfg", "model.keras", "metrics.csv", "results.json", "logs"


def check(path: str, overwrite: bool) -> None:
    """Raises ValueError if a folder holds a finished run and `overwrite` is false, or holds something else."""
    folder = pathlib.Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--run_dir={path} is a file; name a folder.")
    present = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    if present and FLAGS not in present:
        raise ValueError(f"--run_dir={path} holds {', '.join(sorted(present)[:3])}, which no run wrote; name another.")
    if RESULTS in present and not overwrite:
        raise ValueError(f"--run_dir={path} holds a finished run; add --overwrite to replace it, or name another.")


def claim(path: str) -> pathlib.Path:
    """Makes a run's folder, empty of earlier runs.

    Raises:
        ValueError: if it cannot be written.
    """
    folder = pathlib.Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (RESULTS, MODEL, METRICS, FLAGS):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / LOGS, ignore_errors=True)
        write_text(folder / FLAGS, "")
    except OSError as error:
        raise ValueError(f"--run_dir={path} cannot be written: {error.strerror}.") from error
    return folder


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
