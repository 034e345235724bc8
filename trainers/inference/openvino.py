"""SavedModels in OpenVINO, which reads the graph by code of its own. It decodes no images, so pixels go in."""

import os
import pathlib
import shutil
import tempfile

from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from keras_vit.export.answering import MAIN, SIGNATURE
from trainers.inference import pixels, saved_model
from trainers.inference.predictor import Predictor

EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}  # by default it may take half precision


def opened(place: str) -> Predictor:
    """A SavedModel that `trainers.export` wrote, by its signature for pixels.

    Args:
        place: Its folder; local.

    Raises:
        UserError: if it does not say what it is.
    """
    import openvino

    model_description = saved_model.read_description(place)
    whole = SavedModel.FromString(pathlib.Path(place, saved_model.FILE).read_bytes())
    signature = whole.meta_graphs[0].signature_def["pixels"]
    output, channels = saved_model.main_output(signature), saved_model.channels_of(signature)
    with tempfile.TemporaryDirectory() as folder:
        _leave_pixels(whole, output)
        pathlib.Path(folder, saved_model.FILE).write_bytes(whole.SerializeToString())
        shutil.copytree(os.path.join(place, "variables"), os.path.join(folder, "variables"))
        compiled = openvino.compile_model(openvino.Core().read_model(folder), "CPU", EXACTLY)
    return Predictor(
        "OpenVINO, pixels",
        output,
        model_description.labels if output == MAIN[0] else (),
        pixels.together(
            pixels.preprocessed(channels, model_description.preprocessing), lambda images: compiled(images)[output]
        ),
    )


def _leave_pixels(whole: SavedModel, output: str) -> None:
    """Leaves one signature and one output, under the only name that OpenVINO takes."""
    signatures = whole.meta_graphs[0].signature_def
    pixels = signatures["pixels"]
    for name in set(pixels.outputs) - {output}:  # strings, of which it has none
        del pixels.outputs[name]
    signatures[SIGNATURE].CopyFrom(pixels)
    for name in set(signatures) - {SIGNATURE, "__saved_model_init_op"}:
        del signatures[name]
