"""Reads models from other people's weight files.

`load` recognises the file, infers the architecture from the arrays, builds the model and fills it. Each format has one
file with one table of names.
"""

import pathlib
import zipfile
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


def load(path: str, *, return_report: bool = False, **overrides: Any) -> Any:
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
    arrays = read_npz(path)
    for form in FORMATS.values():
        if form.recognises(arrays):
            break
    else:
        raise InvalidWeights(
            f"{path}: no known format. Expected the array names of {' or '.join(FORMATS)}; got {_shown(arrays)}."
        )
    arrays = form.canonical(arrays)
    try:
        architecture = Architecture(**{**google.architecture(arrays), **overrides})
        model = build(architecture)
    except (KeyError, ValueError) as error:
        raise InvalidWeights(f"{path}: {error}") from error
    report = fill(model, arrays, google.names(architecture), path)
    return (model, report) if return_report else model


def read_npz(path: str) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file; pickled objects are never read.

    Raises:
        InvalidWeights: if there is no such file, or it is damaged or holds pickled objects.
    """
    if not pathlib.Path(path).is_file():
        raise InvalidWeights(f"{path}: no such weight file.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise InvalidWeights(f"{path}: not a readable .npz file of plain arrays ({error}).") from error


def fill(model: VisionTransformer, arrays: dict[str, np.ndarray], names: dict[str, str], path: str) -> LoadReport:
    """Assigns arrays to the model's variables by a table from variable path to array name; all or nothing.

    Raises:
        InvalidWeights: if an array is missing, left over, or has another number of entries than its variable.
    """
    variables = {variable_path(variable): variable for variable in model.weights if is_weight(variable)}
    missing = sorted(own for own in variables if names.get(own) not in arrays)
    unused = sorted(set(arrays) - {names.get(own) for own in variables})
    if missing or unused:
        raise InvalidWeights(
            f"{path}: the arrays do not match the model. Missing for {_shown(missing)}; unused in the file "
            f"{_shown(unused)}."
        )
    for own, variable in variables.items():
        array = arrays[names[own]]
        # Patch kernels are stored (P, P, C, D) and projected here as (P*P*C, D); everything else has equal shapes.
        if array.size != np.prod(variable.shape) or array.shape[-1] != variable.shape[-1]:
            raise InvalidWeights(
                f"{path}: {names[own]} has shape {array.shape}; the model's {own} needs {tuple(variable.shape)}."
            )
    for own, variable in variables.items():
        variable.assign(arrays[names[own]].reshape(variable.shape))
    return LoadReport(sorted(names[own] for own in variables), [], [], [], [])


def variable_path(variable: Any) -> str:
    """A variable's path inside its model, e.g. `block_0/attention/query/kernel`."""
    return variable.path


def is_weight(variable: Any) -> bool:
    """Random-number states of dropout layers are variables too, but nobody's weights."""
    return "seed_generator" not in variable.path


def _shown(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"


FORMATS = {"google": google, "bigvision": bigvision}
