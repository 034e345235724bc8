"""A SavedModel in OpenVINO, which reads the graph by code of its own. It decodes no images, so pixels go in."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
from tensorflow.core.protobuf import saved_model_pb2

from keras_vit.export.answering import SIGNATURE
from keras_vit.export.saved_model import MAIN

EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}  # by default it may take half precision


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Loads a SavedModel that `keras_vit.export.saved_model.write` wrote, for as long as the context lasts.

    Args:
        path: Its folder.

    Returns:
        A function of pixels (B, h, w, C) as the model wants them to its answers (B, Y), or (B, D) without a head.
    """
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder) / "pixels"
        output = leave_pixels(pathlib.Path(path), place)
        compiled = openvino.compile_model(openvino.Core().read_model(place), "CPU", EXACTLY)
        yield lambda pixels: compiled(pixels)[output]


def leave_pixels(source: pathlib.Path, destination: pathlib.Path) -> str:
    """Writes a copy whose one signature is `pixels`, under the only name that OpenVINO takes.

    Returns:
        The name of its one output.
    """
    model = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    signatures = model.meta_graphs[0].signature_def
    pixels = signatures["pixels"]
    output = next(name for name in MAIN if name in pixels.outputs)
    for name in set(pixels.outputs) - {output}:  # strings, of which it has none
        del pixels.outputs[name]
    signatures[SIGNATURE].CopyFrom(pixels)
    for name in set(signatures) - {SIGNATURE, "__saved_model_init_op"}:
        del signatures[name]
    shutil.copytree(source / "variables", destination / "variables")
    (destination / "saved_model.pb").write_bytes(model.SerializeToString())
    return output
