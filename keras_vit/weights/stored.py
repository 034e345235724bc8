"""Arrays of a weight file, read one at a time: names and shapes are known first, so that mistakes cost no memory."""

import contextlib
import dataclasses
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import safetensors


class InvalidWeights(ValueError):
    """A weight file that cannot be read, or does not hold the model it should."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a weight file holds.

    Args:
        path: Of the file or folder, for messages.
        shapes: Shape of each array by name.
        read: From a name to the array, float32.
        config: What stands beside the arrays: a `config.json`, or what `write_npz` noted.
        origins: Name in the file of each array that goes by another name here.
    """

    path: str
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    origins: dict[str, str] = dataclasses.field(default_factory=dict)

    def renamed(self, names: dict[str, str]) -> "Stored":
        """The same arrays under other names: {new name: name here}. Arrays that are not named are left out."""
        return dataclasses.replace(
            self,
            shapes={new: self.shapes[old] for new, old in names.items()},
            read=lambda name: self.read(names[name]),
            origins={new: self.origin(old) for new, old in names.items()},
        )

    def origin(self, name: str) -> str:
        """The name in the file."""
        return self.origins.get(name, name)


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Stored]:
    """An `.npz` or `.safetensors` file, or a folder with the latter, open for reading; pickles are never read.

    Raises:
        InvalidWeights: if there is no such file, or it is damaged or holds anything but arrays of floats.
    """
    place = pathlib.Path(path)
    if place.is_dir():
        yield _open_folder(place)
    elif not place.is_file():
        raise InvalidWeights(f"{path}: no such weight file.")
    elif place.suffix == ".safetensors":
        yield _open_safetensors([place], _config_beside(place))
    else:
        with contextlib.ExitStack() as files:
            yield _open_npz(place, files)


def _open_npz(path: pathlib.Path, files: contextlib.ExitStack) -> Stored:
    try:
        archive = files.enter_context(zipfile.ZipFile(path))
        shapes = {info.filename.removesuffix(".npy"): _shape(archive, info) for info in archive.infolist()}
    except _UNREADABLE as error:
        raise InvalidWeights(f"{path}: not a readable .npz file of plain arrays ({one_line(error)}).") from error

    def read(name):
        try:
            with archive.open(f"{name}.npy") as member:
                return as_float32(np.lib.format.read_array(member, allow_pickle=False))
        except _UNREADABLE as error:
            raise InvalidWeights(f"{path}: {one_line(name)} cannot be read ({one_line(error)}).") from error

    return Stored(str(path), shapes, read, _noted(archive.comment))


def _shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    """Shape of a member, from its header.

    Raises:
        ValueError: if it holds no floats, or not as many as it says.
    """
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read_header[version](member)
        begin = member.tell()
    name = one_line(info.filename.removesuffix(".npy"))
    if dtype.kind != "f" and not _is_bfloat16(dtype):
        raise ValueError(f"expected floating-point arrays, but {name} holds {dtype}")
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if info.file_size - begin != expected:
        raise ValueError(f"{name} should have {expected:,} bytes, but has {info.file_size - begin:,}")
    return shape


def _open_folder(folder: pathlib.Path) -> Stored:
    """A folder as Hugging Face lays it out: one or several .safetensors files, and config.json."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InvalidWeights(f"{folder}: a folder without any .safetensors file; pickled .bin files are never read.")
    return _open_safetensors(files, _config_beside(files[0]))


def _open_safetensors(files: list[pathlib.Path], config: dict[str, Any]) -> Stored:
    shapes, holders = {}, {}
    for file in files:
        try:
            holder = safetensors.safe_open(file, framework="numpy")
            config = config | _noted((holder.metadata() or {}).get("keras_vit"))
            for name in holder.keys():  # noqa: SIM118  (it is no dict)
                part = holder.get_slice(name)
                if part.get_dtype() not in ("F64", "F32", "F16", "BF16"):
                    raise ValueError(f"expected floating-point arrays, but {name} holds {part.get_dtype()}")
                shapes[name], holders[name] = tuple(part.get_shape()), holder
        except _UNREADABLE as error:
            raise InvalidWeights(f"{file}: not a readable .safetensors file ({one_line(error)}).") from error
    path = files[0] if len(files) == 1 else files[0].parent
    return Stored(str(path), shapes, lambda name: as_float32(holders[name].get_tensor(name)), config)


def _config_beside(file: pathlib.Path) -> dict[str, Any]:
    """Contents of config.json and preprocessor_config.json (under `preprocessor`) in the folder of a file."""
    config: dict[str, Any] = {}
    for name, key in (("config.json", None), ("preprocessor_config.json", "preprocessor")):
        if (path := file.with_name(name)).is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise InvalidWeights(f"{path}: not JSON ({one_line(error)}).") from error
            if not isinstance(content, dict):
                raise InvalidWeights(f"{path}: expected a JSON object.")
            config |= content if key is None else {key: content}
    return config


def write_npz(path: str | os.PathLike, arrays: Iterable[tuple[str, np.ndarray]], noted: dict[str, Any]) -> None:
    """Writes arrays one after the other, whole or not at all.

    Args:
        path: Of the file.
        arrays: Pairs of name and array.
        noted: Plain values that go into the archive's comment, where other readers do not look.
    """

    def write(temporary):
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.comment = json.dumps(noted).encode()

    write_whole(path, write)


def write_whole(path: str | os.PathLike, write: Callable[[str], None]) -> None:
    """Lets `write` write to a temporary name in the same folder, and renames that when it is done."""
    place = pathlib.Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Not by tempfile, whose files nobody else may read.
    temporary = place.with_name(f".{os.getpid()}.{place.name}")
    try:
        write(str(temporary))
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def as_float32(array: np.ndarray) -> np.ndarray:
    """The array in float32; two-byte voids are bfloat16, which NumPy has no name for."""
    if _is_bfloat16(array.dtype):
        return (array.view("<u2").astype("<u4") << 16).view("<f4")
    return np.asarray(array, "float32")


def one_line(text: Any) -> str:
    return " ".join(str(text).split())


def _noted(text: str | bytes | None) -> dict[str, Any]:
    """What `save` noted in a file, under the key `keras_vit`; nothing if somebody else wrote it."""
    try:
        noted = json.loads(text or "")
    except ValueError:
        return {}
    return {"keras_vit": noted} if isinstance(noted, dict) and "architecture" in noted else {}


def _is_bfloat16(dtype: np.dtype) -> bool:
    return dtype.kind == "V" and dtype.itemsize == 2


# What numpy, zipfile and safetensors raise for files that are damaged, encrypted or something else.
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    AttributeError,
    KeyError,
    TypeError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    safetensors.SafetensorError,
)
