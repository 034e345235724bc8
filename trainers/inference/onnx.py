"""ONNX files that `trainers.export` wrote, run by onnxruntime."""

from keras_vit.errors import MissingPackage, UserError, reason
from keras_vit.export import description
from keras_vit.export.onnx import METADATA
from trainers import files
from trainers.inference import pixels
from trainers.inference.predictor import Predictor


def opened(path: str, flag: str) -> Predictor:
    """The model in an .onnx file, with the labels and the description in its metadata.

    Raises:
        MissingPackage: naming the extra to install, if there is no runtime.
        UserError: if the file cannot be read, or is none of ours.
    """
    runtime = _runtime()
    try:
        session = runtime.InferenceSession(files.read_bytes(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # no other base have onnxruntime's own
        raise UserError(f"--{flag}={path}: onnxruntime cannot load it: {reason(error)}.") from error
    metadata, inputs, outputs = session.get_modelmeta().custom_metadata_map, session.get_inputs(), session.get_outputs()
    try:
        model_description = description.read({file: metadata[name].encode() for name, file in METADATA.items()})
        (image_input,), (output,) = inputs, outputs
    except (KeyError, ValueError) as error:
        raise UserError(
            f"--{flag}={path}: not a file of python -m trainers.export: it lacks {' or '.join(METADATA)} in its "
            "metadata, or has more than one input or output."
        ) from error
    _, *sides, channels = image_input.shape
    known = [side if isinstance(side, int) else None for side in sides]
    return pixels.of_file(
        "ONNX Runtime",
        pixels.Input(known, channels, {"tensor(uint8)": "uint8"}.get(image_input.type, "float32")),
        lambda images: session.run([output.name], {image_input.name: images})[0],
        model_description,
    )


def _runtime():
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingPackage(
            "onnxruntime, which runs .onnx files, is not installed; from a clone, pip install -e '.[onnx]'."
        ) from None
    return onnxruntime
