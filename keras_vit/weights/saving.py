"""From a model to a weight file."""

import json
import os
import pathlib
import warnings
import zipfile
from typing import Any

import numpy as np
import safetensors.numpy
from keras import ops

from keras_vit import writing
from keras_vit.classifier import description
from keras_vit.errors import UserError
from keras_vit.variants import AnyArchitecture, BitArchitecture
from keras_vit.weights import google, hdf5, huggingface
from keras_vit.weights.formats import FORMATS, READABLE
from keras_vit.weights.stored import write_npz


def save(model: Any, path: str | os.PathLike, format: str = "google") -> None:
    """Writes a model's weights, whole or not at all.

    What a format has no place for, such as the form of GELU and the preprocessing, is noted where other readers do not
    look and `load` does: in the comment of the archive, or the metadata or an attribute of the file.

    Args:
        model: A `VisionTransformer` or `BitResNet`.
        path: Path of the file (google, bigvision, bit: `.npz`; timm: `.safetensors`; keras: `.keras`, or `.weights.h5`
            for the weights alone) or folder (huggingface).
        format: Key of `WRITERS`.

    Raises:
        UserError: if the format is unknown or has no place for the model.
    """
    if format in set(READABLE) - set(WRITERS):
        raise UserError(f"The {format} format is read, not written; choose one of {', '.join(WRITERS)}.")
    if format not in WRITERS:
        raise UserError(f"Unknown format {format!r}; choose one of {', '.join(WRITERS)}.")
    if format in FORMATS:
        check_holds(format, model.architecture)
    WRITERS[format](model, path)


def check_holds(format: str, a: AnyArchitecture) -> None:
    """Raises UserError if a format has no place for an architecture; warns if other readers compute otherwise."""
    reason = refusal(format, a)
    if reason:
        able = [name for name in FORMATS if not refusal(name, a)]
        raise UserError(f"The {format} format cannot hold this model: {reason}. Use {' or '.join([*able, 'keras'])}.")
    assumed = ASSUMED.get(format, {})
    differ = [f"{name}={getattr(a, name)}" for name, value in assumed.items() if getattr(a, name) != value]
    if differ:
        defaults = ", ".join(f"{name}={value}" for name, value in assumed.items())
        warnings.warn(
            f"This model has {', '.join(differ)}, for which the {format} format has no place; other readers of it take "
            f"{defaults}, and will differ a little.",
            stacklevel=3,
        )


def refusal(format: str, a: AnyArchitecture) -> str | None:
    """Why a format has no place for an architecture; None where it has."""
    if isinstance(a, BitArchitecture):
        return None if format == "bit" else "it holds Vision Transformers only"
    if a.stem is not None and format != "google":
        return "it has no ResNet stem"
    return FORMATS[format].cannot_hold(a)


def arrays_of(model: Any, format: str):
    """Pairs of name and array, as a format has them."""
    values = {variable.path: variable for variable in model.weights}
    for row in FORMATS[format].table(model.architecture):
        yield from zip(row.names, row.to_arrays(*(_array(values[path]) for path in row.paths)), strict=True)


def _write_google(model, path):
    named = ((google.published_name(name), array) for name, array in arrays_of(model, "google"))
    write_npz(_suffixed(path, ".npz"), named, _comment(model))


def _write_bigvision(model, path):
    write_npz(_suffixed(path, ".npz"), arrays_of(model, "bigvision"), _comment(model))


def _write_bit(model, path):
    write_npz(_suffixed(path, ".npz"), arrays_of(model, "bit"), _comment(model))


def _comment(model) -> dict[str, Any]:
    """What goes into an archive's comment; names of very many classes do not fit, and are left out with a warning."""
    noted = description(model)
    if len(json.dumps(noted).encode()) > zipfile.ZIP_MAX_COMMENT:
        warnings.warn(
            f"The names of {len(model.class_names):,} classes have no room in an .npz file and are left out; the "
            "huggingface, timm and keras formats hold them.",
            stacklevel=4,
        )
        return noted | {"class_names": None}
    return noted


def _write_timm(model, path):
    place = _suffixed(path, ".safetensors")
    writing.whole(place, lambda temporary: _write_safetensors(model, temporary, "timm"))


def _write_huggingface(model, path):
    """A folder, replaced as a whole."""
    place = pathlib.Path(path)
    if place.exists() and not (place / "config.json").is_file():
        raise UserError(f"{path} is there and holds no model of Hugging Face's; name another folder.")

    def write(folder):
        folder.mkdir()
        _write_safetensors(model, folder / "model.safetensors", "huggingface")
        contents = {
            "config.json": huggingface.written_config(model.architecture, model.class_names),
            "preprocessor_config.json": huggingface.written_preprocessor(model.preprocessing),
        }
        for name, content in contents.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    writing.whole(place, write)


def head_is_zero(model: Any) -> bool:
    """Whether a model has a head of zeros, as files have that were published for fine-tuning."""
    if not model.architecture.num_classes:
        return False
    return not any(np.any(_array(variable)) for variable in model.weights if variable.path.startswith("head"))


def _write_keras(model, path):
    """The whole model, or its weights alone, by Keras itself."""

    def write_weights(temporary):
        model.save_weights(temporary)
        hdf5.note(temporary, json.dumps(description(model)))

    place = _suffixed(path, ".keras", hdf5.SUFFIX)
    writing.whole(place, write_weights if place.name.endswith(hdf5.SUFFIX) else model.save)


def _write_safetensors(model, path, format: str) -> None:
    named = {name: np.ascontiguousarray(array) for name, array in arrays_of(model, format)}
    if format == "huggingface" and model.architecture.num_classes:
        named = {name if name.startswith("classifier.") else f"vit.{name}": array for name, array in named.items()}
    safetensors.numpy.save_file(named, path, {"format": "pt", "keras_vit": json.dumps(description(model))})


def _array(variable) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(variable.value), "float32")


def _suffixed(path, *suffixes: str) -> pathlib.Path:
    """The path; raises ValueError if it does not end as the format's files do."""
    if not pathlib.Path(path).name.endswith(suffixes):
        raise UserError(f"{path}: a file of this format ends in {' or '.join(suffixes)}.")
    return pathlib.Path(path)


# What readers of a format take for granted, because it has no place for it.
ASSUMED = {
    "google": {"gelu": "tanh", "epsilon": 1e-6},
    "bigvision": {"gelu": "tanh", "epsilon": 1e-6},
    "timm": {"gelu": "erf", "epsilon": 1e-6},
}

WRITERS = {
    "google": _write_google,
    "bigvision": _write_bigvision,
    "huggingface": _write_huggingface,
    "timm": _write_timm,
    "bit": _write_bit,
    "keras": _write_keras,
}
