"""Arrays of a weight file, read one at a time: names and shapes are known first, so that mistakes cost no memory.

`opening` makes them from files.
"""

import dataclasses
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import safetensors

from keras_vit import writing
from keras_vit.errors import InvalidWeights, reason


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a weight file holds.

    Args:
        path: Path of the file or folder, for messages.
        shapes: Shape of each array by name.
        read: Function from a name to the array, float32.
        config: Configuration beside the arrays: a `config.json`, or what `write_npz` noted.
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


def write_npz(path: str | os.PathLike, arrays: Iterable[tuple[str, np.ndarray]], noted: dict[str, Any]) -> None:
    """Writes arrays one after the other, whole or not at all.

    Args:
        path: Path of the file.
        arrays: Pairs of name and array.
        noted: Plain values that go into the archive's comment, where other readers do not look.
    """

    def write(temporary):
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.comment = json.dumps(noted).encode()

    writing.whole(path, write)


def as_float32(array: np.ndarray) -> np.ndarray:
    """The array in float32; two-byte voids are bfloat16, which NumPy has no name for."""
    if is_bfloat16(array.dtype):
        return (array.view("<u2").astype("<u4") << 16).view("<f4")
    return np.asarray(array, "float32")


def one_line(text: Any) -> str:
    return " ".join(str(text).split())


def json_object(path: pathlib.Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one without the file.

    Raises:
        InvalidWeights: if the file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidWeights(f"{path}: not readable JSON ({reason(error)}).") from error
    if not isinstance(content, dict):
        raise InvalidWeights(f"{path}: expected a JSON object.")
    return content


def noted(text: str | bytes | None) -> dict[str, Any]:
    """What `save` noted in a file, under the key `NOTED`; nothing if somebody else wrote it."""
    try:
        content = json.loads(text or "")
    except ValueError:
        return {}
    return {NOTED: content} if isinstance(content, dict) and "architecture" in content else {}


def is_bfloat16(dtype: np.dtype) -> bool:
    """Whether values are the two-byte voids that NumPy makes of bfloat16."""
    return dtype.kind == "V" and dtype.itemsize == 2


# Key in `Stored.config`, and in files that have keys, of what `save` notes for `load`.
NOTED = "keras_vit"

# What numpy, zipfile, safetensors and h5py raise for files that are damaged, encrypted or something else.
UNREADABLE = (
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
