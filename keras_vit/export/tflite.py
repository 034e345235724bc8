"""A model as a LiteRT file (`.tflite`), for phones, browsers and small computers: preprocessing and labels inside.

Signature `serving_default`: `images`, uint8 (B, H, W, C), any H and W unless a size was asked for, to `probabilities`
(B, Y) or, of a model without a head, `features` (B, D), float32. It is made of LiteRT's built-in operations only.
"""

import os
import pathlib
import tempfile
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_vit import writing
from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError
from keras_vit.export import conversion, tflite_metadata
from keras_vit.export.answering import Answering, main_output
from keras_vit.export.description import files_of
from keras_vit.export.tflite_conversion import QUANTIZATIONS
from keras_vit.export.tflite_metadata import read_files
from keras_vit.images import transform

__all__ = ["BATCHES", "QUANTIZATIONS", "convert", "read_files"]

BATCHES = {1: 1, "dynamic": None}  # what is asked for -> size of the axis


def convert(
    model: ImageClassifier,
    path: str | os.PathLike,
    *,
    answering: Answering,
    provenance: dict[str, Any],
    quantization: str = "dynamic",
    batch: int | str = 1,
    size: tuple[int, int] | None = None,
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Writes a LiteRT file, whole or not at all.

    Args:
        model: Model as `keras_vit.build` returns it, in any precision.
        path: Path of the file.
        answering: How logits become probabilities.
        provenance: Origin of the model, as plain JSON values.
        quantization: Key of `QUANTIZATIONS`: `float32`; `float16` weights; `dynamic`, weights of 8 bits; `full_int8`,
            activations of 8 bits too. Preprocessing and the answer are float32 in all of them.
        batch: Images at a time: 1, or `dynamic` for any number, which not every runtime takes.
        size: Height and width of the images that it takes, for runtimes that want them fixed, as in browsers; any if
            left out.
        calibration: Images for full_int8, and only there: uint8 (H, W, C) such as the model will see, about 100, by
            which activations are scaled.

    Raises:
        UserError: for what does not fit together, if the converter fails, or if the file cannot be written.
    """
    _check(quantization, batch, calibration)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        arguments = [quantization, place / "saved_model", place / "converted"]
        if calibration is not None:
            np.save(place / "calibration.npy", _pixels(calibration, model))
            arguments.append(place / "calibration.npy")
        conversion.write_saved_model(model, place / "saved_model", answering, BATCHES[batch], size or (None, None))
        conversion.run("Conversion to LiteRT", "keras_vit.export.tflite_conversion", arguments)
        converted = (place / "converted").read_bytes()
    files = files_of(model, answering, provenance)
    metadata = tflite_metadata.metadata_of(model, main_output(model))
    whole = tflite_metadata.with_metadata(converted, metadata, files)
    writing.whole(path, lambda temporary: temporary.write_bytes(whole))


def _check(quantization, batch, calibration):
    if quantization not in QUANTIZATIONS:
        raise UserError(f"Unknown quantization {quantization!r}; choose one of {', '.join(QUANTIZATIONS)}.")
    if batch not in BATCHES:
        raise UserError(f"A .tflite takes a batch of 1 or 'dynamic'; got batch={batch!r}.")
    if (calibration is None) == (quantization == "full_int8"):
        raise UserError(
            f"Calibration images go with quantization='full_int8', which needs them; got quantization={quantization!r} "
            f"{'without' if calibration is None else 'with'} any."
        )


def _pixels(calibration, model) -> np.ndarray:
    """(N, h, w, C), as the model wants them."""
    channels = model.architecture.image_shape[-1]
    pixels = []
    for number, image in enumerate(calibration):
        shape, dtype = np.shape(image), getattr(image, "dtype", None)
        if dtype != np.uint8 or len(shape) != 3 or shape[-1] != channels or 0 in shape:
            raise UserError(
                f"Calibration images are uint8 (height, width, {channels}); image {number} is {dtype} {shape}."
            )
        pixels.append(transform.apply(image, model.preprocessing).numpy())
    if not pixels:
        raise UserError("Calibration needs images, about 100; got none.")
    return np.stack(pixels)
