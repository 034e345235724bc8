"""Flag files put in the place of the `--flagfile` that names them."""

import os
import pathlib
from collections.abc import Iterator, Sequence

from keras_vit.errors import UserError, reason

OPTIONS = ("--flagfile", "-flagfile")


def expanded(arguments: Sequence[str], around: tuple[pathlib.Path, ...] = ()) -> Iterator[str]:
    """Arguments with those of flag files in their places.

    A line is one argument; empty ones and those that start with # or // are none. A file that a flag file names is
    looked for beside that file, then, as from the command line, in the working folder.

    Args:
        arguments: Arguments of a command line, or the lines of a flag file.
        around: The flag files that these stand in, the innermost last.

    Raises:
        UserError: for a file that is not there, cannot be read, is not text, or includes itself.
    """
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":  # what follows is no flag
            yield from (argument, *rest)
            return
        name, equals, value = argument.partition("=")
        if name not in OPTIONS:
            yield argument
            continue
        value = value if equals else next(rest, "")
        path = _flag_file(value, around)
        if path in around:
            raise UserError(f"--flagfile={value}: {path} includes itself, by {around[-1]}.")
        yield from expanded(_lines(path), (*around, path))


def _flag_file(name: str, around: tuple[pathlib.Path, ...]) -> pathlib.Path:
    if not name:
        raise UserError("--flagfile needs the name of a file: --flagfile=FILE.")
    path = pathlib.Path(os.path.expanduser(name))
    places = [*(file.parent for file in around[-1:]), pathlib.Path.cwd()]
    for place in places:
        if os.path.exists(place / path):
            return (place / path).resolve()
    looked = " and ".join(str(place) for place in dict.fromkeys(places))
    raise UserError(f"--flagfile={name}: there is no such file, looked for from {looked}.")


def _lines(path: pathlib.Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f"--flagfile={path} is not text.") from error
    except OSError as error:
        raise UserError(f"--flagfile={path} cannot be read: {reason(error)}.") from error
    return [line for line in lines if line and not line.startswith(("#", "//"))]
