"""A model as an ONNX file, for runtimes that are none of TensorFlow's: preprocessing and labels inside.

Input `images`, uint8 (B, H, W, C), any B, H and W; output `probabilities` (B, Y) or, of a model without a head,
`features` (B, D), float32. Metadata: `labels`, a label per line, and `keras_vit`, a JSON object that says what it is.
Keras writes the graph, tf2onnx converts it.
"""

import importlib.util
import os
import pathlib
import tempfile
from typing import Any

from keras_vit import writing
from keras_vit.classifier import ImageClassifier
from keras_vit.errors import MissingPackage
from keras_vit.export import conversion
from keras_vit.export.answering import SIGNATURE, Answering
from keras_vit.export.description import DESCRIPTION, LABELS, files_of

OPSET = 18  # the highest that tf2onnx 1.17 writes
AXES = ("batch", "height", "width")
METADATA = {"labels": LABELS, "keras_vit": DESCRIPTION}


def convert(
    model: ImageClassifier, path: str | os.PathLike, *, answering: Answering, provenance: dict[str, Any]
) -> None:
    """Writes an ONNX file, whole or not at all.

    Args:
        model: Model as `keras_vit.build` returns it, in any precision.
        path: Path of the file.
        answering: How logits become probabilities.
        provenance: Origin of the model, as plain JSON values.

    Raises:
        MissingPackage: naming the extra to install, if the converter is missing.
        UserError: if the converter fails, or if the file cannot be written.
    """
    for package in ("onnx", "tf2onnx"):
        if importlib.util.find_spec(package) is None:
            raise MissingPackage(
                f"ONNX files are written by {package}, which is not installed; from a clone, pip install -e '.[onnx]'.",
                name=package,
            )
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        conversion.write_saved_model(model, place / "saved_model", answering, None)
        conversion.run("Conversion to ONNX", "tf2onnx.convert", _arguments(place / "saved_model", place / "converted"))
        described = _described(place / "converted", files_of(model, answering, provenance))
    writing.whole(path, lambda temporary: temporary.write_bytes(described))


def _arguments(saved_model, output):
    return [
        *("--saved-model", saved_model, "--signature_def", SIGNATURE, "--tag", "serve"),
        *("--opset", OPSET, "--output", output),
    ]


def _described(path: pathlib.Path, files: dict[str, bytes]) -> bytes:
    """The file with metadata and names of the axes that are free."""
    import onnx

    whole = onnx.load(path)
    onnx.helper.set_model_props(whole, {key: files[name].decode() for key, name in METADATA.items()})
    for end in (*whole.graph.input, *whole.graph.output):
        for axis, name in zip(end.type.tensor_type.shape.dim, AXES, strict=False):
            if not axis.dim_value:
                axis.dim_param = name
    return whole.SerializeToString()
