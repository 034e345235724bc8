"""LiteRT files that `trainers.export` wrote, run by ai-edge-litert."""

import io
import zipfile

import tensorflow as tf

from keras_vit.errors import MissingPackage, UserError, reason
from keras_vit.export import description
from keras_vit.export.answering import SIGNATURE
from keras_vit.export.description import DESCRIPTION, LABELS
from trainers import files, machine
from trainers.inference import pixels
from trainers.inference.predictor import Predictor


def opened(path: str, flag: str) -> Predictor:
    """The model in a .tflite file, with the labels and the description that a zip at its end holds.

    Raises:
        MissingPackage: naming the extra to install, if there is no runtime.
        UserError: if the file cannot be read, or is none of ours.
    """
    interpreter_class = _interpreter()
    try:
        content = files.read_bytes(path)
        interpreter = interpreter_class(model_content=content, num_threads=machine.cpus())
    except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UserError(f"--{flag}={path}: LiteRT cannot load it: {reason(error)}.") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            model_description = description.read({name: archive.read(name) for name in (LABELS, DESCRIPTION)})
        runner = interpreter.get_signature_runner(SIGNATURE)
        ((name, details),) = runner.get_input_details().items()
        (output,) = runner.get_output_details()
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise UserError(
            f"--{flag}={path}: not a file of python -m trainers.export: it lacks {LABELS}, {DESCRIPTION}, or a "
            f"signature {SIGNATURE} of one input and one output."
        ) from error
    _, *sides, channels = map(int, details["shape_signature"])
    known = [side if side > 0 else None for side in sides]
    return pixels.of_file(
        "LiteRT",
        pixels.Input(known, channels, details["dtype"].__name__),
        lambda images: runner(**{name: images})[output],
        model_description,
    )


def _interpreter():
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        raise MissingPackage(
            "ai-edge-litert, which runs .tflite files, is not installed; from a clone, pip install -e '.[export]'."
        ) from None
    return Interpreter
