"""The folder of an export: numbered versions, each whole from the moment it can be seen."""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator


def name_of(model: str) -> str:
    """What a server calls a model: its run's or file's name, or that of published weights, in a server's characters."""
    path = model.rstrip("/").removesuffix("/model.keras")
    name = path if ":" in path else os.path.splitext(os.path.basename(path))[0]
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name) or "model"


def usual_folder(model: str) -> str:
    """Folder for the versions of a model that names none: in its run, or below saved_models."""
    return os.path.join(model if os.path.isdir(model) else f"saved_models/{name_of(model)}", "export")


def versions(output: pathlib.Path) -> list[int]:
    """The numbers of the versions in a folder, ascending."""
    if not output.is_dir():
        return []
    return sorted(int(path.name) for path in output.iterdir() if path.name.isdecimal() and path.is_dir())


def check(output: str) -> pathlib.Path:
    """The folder that `--output` names.

    Raises:
        ValueError: if it is remote, or a file.
    """
    if "://" in output:
        raise ValueError(f"--output={output}: exports are written to a local folder; copy it from there.")
    if os.path.exists(output) and not os.path.isdir(output):
        raise ValueError(f"--output={output} is a file; name a folder.")
    return pathlib.Path(output)


@contextlib.contextmanager
def staged(output: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder beside the versions that servers do not look at, gone when the context ends.

    Raises:
        ValueError: if it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(tempfile.mkdtemp(dir=output, prefix=".export-"))
    except OSError as error:
        raise ValueError(f"--output={output} cannot be written: {error.strerror}.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            output.rmdir()  # where nothing was published, and nothing had been


def publish(folder: pathlib.Path, output: pathlib.Path) -> pathlib.Path:
    """Renames a staged folder to the next free version, in one step; returns where it lies."""
    folder.chmod(0o755)
    while True:
        target = output / str(max(versions(output), default=0) + 1)
        try:
            folder.rename(target)
        except OSError:
            if target.exists():  # another export took the number
                continue
            raise
        return target
