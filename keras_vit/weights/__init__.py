"""Reads models from other people's weight files.

`load` recognises the file, infers the architecture from the arrays, builds the model and fills it. Each format is one
file of this room, with one table of names.
"""

import os
import pathlib
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from keras_vit.variants import Architecture
from keras_vit.vit import VisionTransformer, build
from keras_vit.weights import bigvision, google


class InvalidWeights(ValueError):
    """A weight file that cannot be read, or does not hold the model it should."""


class LoadReport(NamedTuple):
    """What became of each array: names in the file, except `missing`, which are paths in the model."""

    matched: list[str]
    resized: list[str]
    reinitialised: list[str]
    unused: list[str]
    missing: list[str]


def load(path: str | os.PathLike, *, return_report: bool = False, **overrides: Any) -> Any:
    """Builds the model that a weight file holds.

    Args:
        path: A Google or big_vision `.npz` file.
        return_report: Whether to return `(model, LoadReport)` instead of the model alone.
        **overrides: Fields of `Architecture` that arrays cannot tell, e.g. `image_size` of a grid that is not square.

    Returns:
        A `VisionTransformer`, or the pair.

    Raises:
        InvalidWeights: if the file is missing, damaged, of an unknown format, or its arrays do not fit the model.
    """
    stored = read_npz(path)
    form = next((form for form in FORMATS.values() if form.recognises(stored)), None)
    if form is None:
        raise InvalidWeights(
            f"{path}: no known format. Expected the array names of {' or '.join(FORMATS)}; got {_shown(stored)}."
        )
    origins = google.linen_names(stored)
    arrays = form.canonical({name: stored[origin] for name, origin in origins.items()})
    try:
        fields = form.architecture(arrays)
        if "image_size" not in overrides:
            fields |= google.image_size(arrays)
        model = build(Architecture.from_dict({**fields, **overrides}))
    except KeyError as error:
        raise InvalidWeights(f"{path}: the array {error.args[0]} is missing.") from error
    except (ValueError, IndexError) as error:
        raise InvalidWeights(f"{path}: {_one_line(error)}") from error
    in_file = {name: origins.get(name) or origins[form.ORIGIN[name]] for name in arrays}
    fill(model, arrays, google.names(model.architecture), in_file, path)
    report = LoadReport(sorted(in_file.values()), [], [], [], [])
    return (model, report) if return_report else model


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file; pickled objects are never read.

    Raises:
        InvalidWeights: if there is no such file, or it is damaged or holds anything but arrays of floats.
    """
    if not pathlib.Path(path).is_file():
        raise InvalidWeights(f"{path}: no such weight file.")
    if pathlib.Path(path).suffix == ".keras":
        raise InvalidWeights(f"{path}: a .keras file, to be opened with keras.models.load_model; expected .npz.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _UNREADABLE as error:
        raise InvalidWeights(f"{path}: not a readable .npz file of plain arrays ({_one_line(error)}).") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            held = array.dtype if isinstance(array, np.ndarray) else "no array"
            raise InvalidWeights(f"{path}: expected floating-point arrays, but {_one_line(name)} holds {held}.")
    return arrays


def fill(
    model: VisionTransformer,
    arrays: dict[str, np.ndarray],
    names: dict[str, str],
    in_file: dict[str, str],
    path: str | os.PathLike,
) -> None:
    """Assigns arrays to the model's variables; all of them, or none.

    Args:
        model: To be filled.
        arrays: Under canonical names.
        names: Path of each variable -> canonical name of its array.
        in_file: Canonical name -> name in the file, for messages.
        path: Of the file, for messages.

    Raises:
        InvalidWeights: if an array is missing, left over, or has another shape than its variable.
    """
    variables = {variable.path: variable for variable in model.weights}
    missing = sorted(own for own in variables if names.get(own) not in arrays)
    unused = sorted(in_file[name] for name in set(arrays) - {names.get(own) for own in variables})
    if missing or unused:
        raise InvalidWeights(
            f"{path}: the arrays do not match the model. Missing for {_shown(missing)}; unused in the file "
            f"{_shown(unused)}."
        )
    values = {}
    for own, variable in variables.items():
        array = arrays[names[own]]
        if names[own] == google.PATCH_KERNEL and array.ndim == 4:
            array = array.reshape(-1, array.shape[-1])  # stored (P, P, C, D), projected here as (P*P*C, D)
        if array.shape != tuple(variable.shape):
            raise InvalidWeights(
                f"{path}: {in_file[names[own]]} has shape {arrays[names[own]].shape}; the model's {own} needs "
                f"{tuple(variable.shape)}." + (" Another image_size?" if names[own] == google.POSITION else "")
            )
        values[own] = array
    for own, variable in variables.items():
        variable.assign(values[own])


def _shown(names: Any) -> str:
    names = [_one_line(name) for name in names]
    return (", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "nothing"


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())


# What numpy and zipfile raise for files that are damaged, encrypted or something else.
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    AttributeError,
    TypeError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)

FORMATS = {"google": google, "bigvision": bigvision}
