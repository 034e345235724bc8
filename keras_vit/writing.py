"""What the library writes: files and folders, whole or not at all. Standard library only."""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

from keras_vit.errors import UserError


def whole(path: str | os.PathLike, write: Callable[[pathlib.Path], object]) -> None:
    """Lets `write` make a file or folder of a temporary name beside a path, and puts it there when it is done.

    Raises:
        UserError: if it cannot be written, the folder that it lies in included, which is made if missing.
    """
    place = pathlib.Path(path)
    # Not by tempfile, whose files nobody else may read.
    temporary = place.with_name(f".{os.getpid()}.{place.name}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        _replace(temporary, place)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        elif temporary.exists():
            temporary.unlink()


def _replace(new: pathlib.Path, old: pathlib.Path) -> None:
    """Puts a file or folder in the place of another one, or of none."""
    if old.is_dir():
        aside = pathlib.Path(tempfile.mkdtemp(dir=old.parent, prefix=f".{old.name}."))
        old.rename(aside / old.name)
        new.rename(old)
        shutil.rmtree(aside)
    else:
        os.replace(new, old)
