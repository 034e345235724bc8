"""ONNX files that `trainers.export` wrote, run by onnxruntime."""

from keras_vit.errors import MissingPackage, UserError, reason
from keras_vit.export.onnx import METADATA
from trainers import files
from trainers.inference import carried
from trainers.inference.predictor import Artefact


def opened(path: str, flag: str) -> Artefact:
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
    told = session.get_modelmeta().custom_metadata_map
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if not all(name in told for name in METADATA) or (len(inputs), len(outputs)) != (1, 1):
        raise UserError(
            f"--{flag}={path}: not a file of python -m trainers.export: it lacks {' or '.join(METADATA)} in its "
            "metadata, or has more than one input or output."
        )
    _, *sides, channels = inputs[0].shape
    known = [side if isinstance(side, int) else None for side in sides]
    return carried.artefact(
        "onnx",
        carried.Input(known, channels, {"tensor(uint8)": "uint8"}.get(inputs[0].type, "float32")),
        lambda pixels: session.run([outputs[0].name], {inputs[0].name: pixels})[0],
        *(told[name] for name in METADATA),
    )


def _runtime():
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingPackage(
            "onnxruntime, which runs .onnx files, is not installed; from a clone, pip install -e '.[onnx]'."
        ) from None
    return onnxruntime
