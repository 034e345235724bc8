"""What opens a model of any kind."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple

from trainers.inference import keras_model, onnx, openvino, saved_model, server, tflite
from trainers.inference.predictor import Predictor


class Kind(NamedTuple):
    """One row of `KINDS`: whether a path is of that kind, and what opens it, told the flag that named it."""

    recognises: Callable[[str], bool]
    open: Callable[[str, str], Predictor]


def open_predictor(path: str, flag: str = "model") -> Predictor:
    """Opens a model.

    Args:
        path: A SavedModel, or an export's folder of versions, of which the newest is taken; a .tflite or .onnx file;
            the URL of a served model; the folder of a run, a `.keras` file, somebody's weights, or the name of
            published ones.
        flag: Flag that named it.

    Raises:
        UserError: if nothing is there, or no model of ours.
        MissingPackage: if its runtime is not installed.
    """
    return next(kind for kind in KINDS.values() if kind.recognises(path)).open(path, flag)


def open_runtimes(path: str, check: Callable[[saved_model.Outputs], None]) -> list[Predictor]:
    """Opens an exported file in everything that runs it, first as `open_predictor` does.

    Args:
        path: Path of the file; local.
        check: Check as of `saved_model.by_signature`.

    Raises:
        UserError: if it cannot be read, or is none of ours.
        MissingPackage: if its runtime is not installed.
    """
    if not saved_model.recognises(path):
        return [open_predictor(path)]
    predictors = saved_model.by_signature(path, check)
    return [*predictors, openvino.opened(path)] if importlib.util.find_spec("openvino") else predictors


# The first that recognises a path opens it.
KINDS = {
    "server": Kind(lambda path: path.startswith(("http://", "https://")), server.opened),
    "tflite": Kind(lambda path: path.endswith(".tflite"), tflite.opened),
    "onnx": Kind(lambda path: path.endswith(".onnx"), onnx.opened),
    "saved_model": Kind(saved_model.recognises, saved_model.opened),
    "keras": Kind(lambda path: True, keras_model.opened),
}
