"""Keras's `.weights.h5` files as plain arrays, whatever model they hold.

Keras makes a group of each layer, named by the layer's class or by the attribute that holds it; the group `vars` in it
numbers its variables, and since Keras 3.9 has the layer's own name as an attribute.
"""

import contextlib
import os
from typing import Any

import h5py
import numpy as np

from keras_vit.errors import InvalidWeights, UserError, reason
from keras_vit.weights.stored import NOTED, UNREADABLE, Stored, as_float32, is_bfloat16, noted, one_line


def open_file(path: str | os.PathLike, files: contextlib.ExitStack) -> Stored:
    """A `.weights.h5` file, open for reading.

    Args:
        path: Path of the file.
        files: Closes it.

    Returns:
        The arrays of its layers, `layers/GROUP/.../NUMBER`, without the states of random generators and the optimizer;
        the layers' own names by group in `config[LAYERS]`, where the file has them.

    Raises:
        InvalidWeights: if the file is damaged, or holds anything but plain arrays of floats.
    """
    arrays: dict[str, Any] = {}
    layers: dict[str, str] = {}

    def visit(name, item):
        if not name.startswith("layers/") or "/seed_generator/" in name:
            return
        if isinstance(item, h5py.Dataset):
            group, _, number = name.rpartition("/")
            arrays[f"{group.removesuffix('/vars')}/{number}"] = _checked(item)
        elif name.endswith("/vars") and isinstance(item.attrs.get("name"), str):
            layers[name.removesuffix("/vars")] = item.attrs["name"]

    try:
        file = files.enter_context(h5py.File(path, "r"))
        text = file.attrs.get(NOTED)
        # Visits neither soft nor external links, so a file cannot name other files.
        file.visititems(visit)
        shapes = {name: tuple(dataset.shape) for name, dataset in arrays.items()}
    except UNREADABLE as error:
        raise InvalidWeights(f"{path}: not a readable .h5 file of plain arrays ({reason(error)}).") from error

    def read(name):
        try:
            return as_float32(arrays[name][()])
        except UNREADABLE as error:
            raise InvalidWeights(f"{path}: {one_line(name)} cannot be read ({reason(error)}).") from error

    return Stored(str(path), shapes, read, {LAYERS: layers, **noted(text if isinstance(text, str) else None)})


def note(path: str | os.PathLike, text: str) -> None:
    """Adds a text to a file, where Keras does not look."""
    with h5py.File(path, "r+") as file:
        # A string of variable length lies outside the object's header, which holds 64 KiB.
        file.attrs[NOTED] = text


def _checked(dataset: h5py.Dataset) -> h5py.Dataset:
    """The dataset; raises ValueError if its values are no floats, lie elsewhere, or are not as many as it says."""
    name = one_line(dataset.name)
    if dataset.external is not None or dataset.is_virtual:
        raise UserError(f"{name} has its values in another file")
    if dataset.chunks is not None:
        raise UserError(f"expected arrays in one piece, as Keras writes them, but {name} is in chunks")
    if dataset.dtype.kind != "f" and not is_bfloat16(dataset.dtype):
        raise UserError(f"expected floating-point arrays, but {name} holds {dataset.dtype}")
    expected = int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize
    if (size := dataset.id.get_storage_size()) != expected:
        raise UserError(f"{name} should have {expected:,} bytes, but has {size:,}")
    return dataset


SUFFIX = ".weights.h5"

# Key in `Stored.config` of {group: name of the layer}.
LAYERS = "keras_layers"
