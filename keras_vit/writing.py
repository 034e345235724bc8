"""Files that the library writes: whole, or not at all. Standard library only."""

import os
import pathlib
from collections.abc import Callable

from keras_vit.errors import UserError


def whole(path: str | os.PathLike, write: Callable[[pathlib.Path], object]) -> None:
    """Lets `write` write to a temporary name in the same folder, made if missing, and renames that when it is done.

    Raises:
        UserError: if the folder cannot be made or written.
    """
    place = pathlib.Path(path)
    # Not by tempfile, whose files nobody else may read.
    temporary = place.with_name(f".{os.getpid()}.{place.name}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, place)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if temporary.exists():
            temporary.unlink()
