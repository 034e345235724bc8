"""The folder of an export: numbered versions, each whole from the moment it can be seen."""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from keras_vit.errors import UserError

SUFFIXES = (".keras", ".h5", ".npz", ".safetensors")  # of weight files, no part of a name


def name_of(model: str) -> str:
    """What a server calls a model: its run's or file's name, or that of published weights, in a server's characters."""
    place = pathlib.PurePath(_run_of(os.path.abspath(model)))
    if ":" in model and "://" not in model and not os.path.exists(model):
        name = model
    elif place.suffix in SUFFIXES and not os.path.isdir(place):
        name = place.stem
    else:
        name = place.name
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name) or "model"


def usual_folder(model: str) -> str:
    """Folder for the versions of a model that names none: in its run, or below saved_models."""
    run = _run_of(model)
    return os.path.join(run if os.path.isdir(run) else f"saved_models/{name_of(model)}", "export")


def _run_of(model: str) -> str:
    """The folder of the run whose model a path is; any other path as it is."""
    folder, file = os.path.split(model)
    return folder if folder and file == "model.keras" else model


def versions(output: pathlib.Path) -> list[int]:
    """The numbers that are taken in a folder, ascending."""
    if not output.is_dir():
        return []
    return sorted(int(path.name) for path in output.iterdir() if path.name.isdecimal())


def check(output: str) -> pathlib.Path:
    """The folder that `--output` names.

    Raises:
        UserError: if it is remote, or a file.
    """
    if "://" in output:
        raise UserError(f"--output={output}: exports are written to a local folder; copy it from there.")
    if os.path.exists(output) and not os.path.isdir(output):
        raise UserError(f"--output={output} is a file; name a folder.")
    return pathlib.Path(output)


@contextlib.contextmanager
def staged(output: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder beside the versions that servers do not look at, gone when the context ends.

    Raises:
        UserError: if it cannot be made.
    """
    made = [place for place in (output, *output.parents) if not place.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(tempfile.mkdtemp(dir=output, prefix=".export-"))
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {error.strerror}.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # from the first on that has something in it, a version or somebody's file
            for place in made:
                place.rmdir()


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
