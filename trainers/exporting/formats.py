"""The formats a model is exported to: how each is written, and how far it may lie from the model."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from keras_vit.classifier import ImageClassifier
from keras_vit.errors import MissingPackage
from keras_vit.export import onnx, saved_model, tflite, warmup
from keras_vit.export.answering import Answering
from trainers.exporting.gate import Limit


@dataclasses.dataclass(frozen=True)
class Job:
    """What is exported.

    Args:
        model: Model as `keras_vit.build` returns it.
        name: Name of the model, for a server.
        answering: Rule by which its logits become an answer.
        provenance: Origin of the model, as plain JSON values.
        tflite_batch: Images that a .tflite takes at a time: 1, or `dynamic`.
        tflite_size: Height and width that it wants them in; None for any.
        calibration: Function that gives images uint8 (H, W, C) by which a .tflite of whole numbers is scaled.
    """

    model: ImageClassifier
    name: str
    answering: Answering
    provenance: dict[str, Any]
    tflite_batch: int | str = 1
    tflite_size: tuple[int, int] | None = None
    calibration: Callable[[], Iterable[np.ndarray]] | None = None


class Format(NamedTuple):
    """One row of `FORMATS`.

    Args:
        file: Its name in the folder of a version; nothing for the folder itself.
        write: Writes it to a path.
        limit: Limit of its answers.
        needs: Keys of `PACKAGES`.
    """

    file: str
    write: Callable[[Job, pathlib.Path], None]
    limit: Limit
    needs: tuple[str, ...] = ()


def missing(name: str) -> list[str]:
    """The packages that a format needs and that are not installed."""
    return [package for package in FORMATS[name].needs if importlib.util.find_spec(package) is None]


def check_packages(names: Iterable[str]) -> None:
    """Raises MissingPackage if what writes or runs a format is not installed."""
    for name in names:
        if packages := missing(name):
            raise MissingPackage(
                f"--formats={name} needs {', '.join(packages)}, not installed here; from a clone, "
                f"pip install -e '.[{PACKAGES[packages[0]]}]'.",
                name=packages[0],
            )


def size_of(path: pathlib.Path) -> int:
    """Bytes of a file; of a SavedModel's folder those that a server reads."""
    if path.is_file():
        return path.stat().st_size
    parts = [path / "saved_model.pb", *(path / "variables").rglob("*"), *(path / "assets").rglob("*")]
    return sum(file.stat().st_size for file in parts if file.is_file())


def _write_saved_model(job: Job, path: pathlib.Path) -> None:
    saved_model.write(job.model, path, answering=job.answering, provenance=job.provenance)
    warmup.write(path, job.name, job.model.architecture.image_shape)


def _tflite(quantization: str) -> Callable[[Job, pathlib.Path], None]:
    def write(job, path):
        calibration = job.calibration() if job.calibration and quantization == "full_int8" else None
        tflite.convert(
            job.model,
            path,
            answering=job.answering,
            provenance=job.provenance,
            quantization=quantization,
            batch=job.tflite_batch,
            size=job.tflite_size,
            calibration=calibration,
        )

    return write


def _write_onnx(job: Job, path: pathlib.Path) -> None:
    onnx.convert(job.model, path, answering=job.answering, provenance=job.provenance)


# Logits of float formats differ by rounding; half precision and whole numbers by what they leave out. Best classes may
# change where two are as good as equal.
EXACT, HALF, WHOLE = Limit(1e-3, 0.95, 0.005), Limit(0.1, 0.9, 0.005), Limit(1.0, 0.8, 0.01)

# What a format needs beside TensorFlow -> the extra that brings it.
PACKAGES = {
    "tensorflow_serving": "export",
    "ai_edge_litert": "export",
    "onnx": "onnx",
    "tf2onnx": "onnx",
    "onnxruntime": "onnx",
}
_SERVING, _LITERT, _ONNX = ("tensorflow_serving",), ("ai_edge_litert",), ("onnx", "tf2onnx", "onnxruntime")

FORMATS = {
    "saved_model": Format("", _write_saved_model, EXACT, _SERVING),
    "tflite": Format("model.tflite", _tflite("dynamic"), WHOLE, _LITERT),
    "tflite_float32": Format("model_float32.tflite", _tflite("float32"), EXACT, _LITERT),
    "tflite_float16": Format("model_float16.tflite", _tflite("float16"), HALF, _LITERT),
    "tflite_full_int8": Format("model_full_int8.tflite", _tflite("full_int8"), WHOLE, _LITERT),
    "onnx": Format("model.onnx", _write_onnx, EXACT, _ONNX),
}
