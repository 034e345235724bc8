"""Weight files, opened for reading array by array: `.npz`, `.safetensors`, `.h5`, and folders of the latter two."""

import contextlib
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors

from keras_vit.errors import UserError, reason
from keras_vit.weights import hdf5, kerashub_preset
from keras_vit.weights.stored import (
    NOTED,
    UNREADABLE,
    InvalidWeights,
    Stored,
    as_float32,
    is_bfloat16,
    json_object,
    noted,
    one_line,
)


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Stored]:
    """An `.npz`, `.safetensors` or `.h5` file, or a folder as Hugging Face or KerasHub has it, open for reading.

    Pickles are never read.

    Raises:
        InvalidWeights: if there is no such file, or it is damaged or holds anything but arrays of floats.
    """
    place = pathlib.Path(path)
    with contextlib.ExitStack() as files:
        if os.path.isdir(place):  # unlike pathlib, false where nobody may look
            yield kerashub_preset.open_preset(place, files) if kerashub_preset.is_preset(place) else _open_folder(place)
        elif not os.path.isfile(place):
            raise InvalidWeights(f"{path}: no such weight file.")
        elif place.suffix == ".safetensors":
            yield _open_safetensors([place], _config_beside(place))
        elif place.suffix == ".h5":
            yield hdf5.open_file(place, files)
        else:
            yield _open_npz(place, files)


def _open_npz(path: pathlib.Path, files: contextlib.ExitStack) -> Stored:
    try:
        archive = files.enter_context(zipfile.ZipFile(path))
        shapes = {info.filename.removesuffix(".npy"): _shape(archive, info) for info in archive.infolist()}
    except UNREADABLE as error:
        raise InvalidWeights(f"{path}: not a readable .npz file of plain arrays ({reason(error)}).") from error

    def read(name):
        try:
            with archive.open(f"{name}.npy") as member:
                return as_float32(np.lib.format.read_array(member, allow_pickle=False))
        except UNREADABLE as error:
            raise InvalidWeights(f"{path}: {one_line(name)} cannot be read ({reason(error)}).") from error

    return Stored(str(path), shapes, read, noted(archive.comment))


def _shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    """Shape of a member, from its header.

    Raises:
        UserError: if it holds no floats, or not as many as it says.
    """
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](member)
        begin = member.tell()
    name = one_line(info.filename.removesuffix(".npy"))
    if dtype.kind != "f" and not is_bfloat16(dtype):
        raise UserError(f"expected floating-point arrays, but {name} holds {dtype}")
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if info.file_size - begin != expected:
        raise UserError(f"{name} should have {expected:,} bytes, but has {info.file_size - begin:,}")
    return shape


def _open_folder(folder: pathlib.Path) -> Stored:
    """A folder as Hugging Face lays it out: one or several .safetensors files, and config.json."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InvalidWeights(
            f"{folder}: a folder without any .safetensors file or {kerashub_preset.WEIGHTS}; pickled .bin files are "
            "never read."
        )
    return _open_safetensors(files, _config_beside(files[0]))


def _open_safetensors(files: list[pathlib.Path], config: dict[str, Any]) -> Stored:
    shapes, holders = {}, {}
    for file in files:
        try:
            holder = safetensors.safe_open(file, framework="numpy")
            config = config | noted((holder.metadata() or {}).get(NOTED))
            for name in holder.keys():  # noqa: SIM118  (it is no dict)
                part = holder.get_slice(name)
                if part.get_dtype() not in ("F64", "F32", "F16", "BF16"):
                    raise UserError(f"expected floating-point arrays, but {name} holds {part.get_dtype()}")
                shapes[name], holders[name] = tuple(part.get_shape()), file
        except UNREADABLE as error:
            raise InvalidWeights(f"{file}: not a readable .safetensors file ({reason(error)}).") from error
    path = files[0] if len(files) == 1 else files[0].parent

    def read(name):
        # Opened anew: an open file keeps all pages that were ever read, and in the end itself, in memory.
        try:
            with safetensors.safe_open(holders[name], framework="numpy") as holder:
                return as_float32(holder.get_tensor(name))
        except UNREADABLE as error:
            raise InvalidWeights(f"{path}: {one_line(name)} cannot be read ({reason(error)}).") from error

    return Stored(str(path), shapes, read, config)


def _config_beside(file: pathlib.Path) -> dict[str, Any]:
    """Contents of config.json and preprocessor_config.json (under `preprocessor`) in the folder of a file."""
    preprocessor = json_object(file.with_name("preprocessor_config.json"))
    return json_object(file.with_name("config.json")) | ({"preprocessor": preprocessor} if preprocessor else {})
