"""TensorFlow's converter to LiteRT files, the process that `tflite.convert` starts.

python -m keras_vit.export.tflite_conversion QUANTIZATION SAVED_MODEL OUTPUT [CALIBRATION]
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

from keras_vit.export import tflite_parts
from keras_vit.export.answering import SIGNATURE
from keras_vit.export.conversion import STEPS


def converted(quantization: str, saved_model: str, calibration: str | None = None) -> bytes:
    """The flatbuffer of a SavedModel that `conversion.write_saved_model` wrote.

    Quantised is what lies between preprocessing and the answer. In half precision, preprocessing would take its pixels
    from up to a quarter of a pixel away (1 / size is a constant of it), and in 8 bits from anywhere.

    Args:
        quantization: Key of `QUANTIZATIONS`.
        saved_model: Its folder.
        calibration: For full_int8, a .npy file of images (N, h, w, C) as the model wants them.
    """
    before, compute, after = (_converter(saved_model, step) for step in STEPS)
    QUANTIZATIONS[quantization](compute, calibration)
    return tflite_parts.joined([part.convert() for part in (before, compute, after)], SIGNATURE)


def _converter(saved_model, signature):
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[signature])
    # No operations of TensorFlow's, which would need a larger runtime.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def _float32(converter, calibration):
    pass


def _float16(converter, calibration):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter, calibration):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _full_int8(converter, calibration):
    images = np.load(calibration, mmap_mode="r")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)


QUANTIZATIONS = {"float32": _float32, "float16": _float16, "dynamic": _dynamic, "full_int8": _full_int8}


if __name__ == "__main__":
    quantization, saved_model, output, *calibration = sys.argv[1:]
    pathlib.Path(output).write_bytes(converted(quantization, saved_model, *calibration))
