"""TensorFlow's converter to LiteRT files, the process that `tflite.convert` starts.

python -m keras_vit.export.tflite_conversion QUANTIZATION SAVED_MODEL OUTPUT [CALIBRATION]
"""

import functools
import pathlib
import sys

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from keras_vit.export.answering import SIGNATURE
from keras_vit.export.conversion import STEPS


def converted(quantization: str, saved_model: str, calibration: str | None = None) -> bytes:
    """The flatbuffer of a SavedModel that `conversion.write_saved_model` wrote.

    Quantised is what lies between preprocessing and the answer. In half precision, preprocessing would take its pixels
    from up to a quarter of a pixel away (1 / size is a constant of it), and in 8 bits from anywhere.

    Args:
        quantization: Key of `QUANTIZATIONS`.
        saved_model: Folder of the SavedModel.
        calibration: A .npy file of images (N, h, w, C) as the model wants them, for full_int8.
    """
    before, compute, after = (_converter(saved_model, step) for step in STEPS)
    QUANTIZATIONS[quantization](compute, calibration)
    return _joined([part.convert() for part in (before, compute, after)], SIGNATURE)


def _converter(saved_model, signature):
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=[signature])
    # No operations of TensorFlow's, which would need a larger runtime.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    return converter


def _joined(parts: list[bytes], signature: str) -> bytes:
    """One flatbuffer that computes several in turn: the first's outputs are the second's inputs.

    Args:
        parts: Flatbuffers of one subgraph and one signature each.
        signature: Name of the whole: its inputs are the first's, its outputs the last's.
    """
    models = [flatbuffer_utils.read_model_from_bytearray(bytearray(part)) for part in parts]
    whole = functools.reduce(_followed_by, models)
    (graph,), (described,) = whole.subgraphs, whole.signatureDefs
    described.signatureKey = signature.encode()
    for end in (*described.inputs, *described.outputs):  # for readers that know no signatures
        graph.tensors[end.tensorIndex].name = end.name
    _name_apart(graph.tensors)
    whole.metadata = []  # What the converter noted was of the first part alone.
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))


def _name_apart(tensors: list[schema.TensorT]) -> None:
    """Gives tensors of one name numbers, the first but for its own: each part has constants of the same names, and
    quantisers such as ai-edge-quantizer 0.10 refuse a file that has a name twice."""
    seen: dict[bytes, int] = {}
    for tensor in tensors:
        name = bytes(tensor.name)
        seen[name] = seen.get(name, -1) + 1
        if seen[name]:
            tensor.name = name + f";{seen[name]}".encode()


def _followed_by(first: schema.ModelT, second: schema.ModelT) -> schema.ModelT:
    """The first, grown by the second."""
    (graph,), (other,) = first.subgraphs, second.subgraphs
    (signature,), (other_signature,) = first.signatureDefs, second.signatureDefs
    joints = dict(zip(other.inputs, graph.outputs, strict=True))
    moved = _moved_tensors(first, second, joints)
    codes = len(first.operatorCodes)
    for operator in other.operators:
        operator.opcodeIndex += codes
        operator.inputs = [moved[index] for index in operator.inputs]
        operator.outputs = [moved[index] for index in operator.outputs]
    first.operatorCodes += second.operatorCodes
    graph.operators += other.operators
    graph.outputs = [moved[index] for index in other.outputs]
    for output in other_signature.outputs:
        output.tensorIndex = moved[output.tensorIndex]
    signature.outputs = other_signature.outputs
    return first


def _moved_tensors(first, second, joints: dict[int, int]) -> dict[int, int]:
    """Takes the second's tensors and buffers over; where each tensor is now, those at the joints being the first's."""
    (graph,), (other,) = first.subgraphs, second.subgraphs
    moved = {-1: -1} | joints  # -1 is an operator's input that was left out
    buffers = len(first.buffers)
    for index, tensor in enumerate(other.tensors):
        tensor.buffer += buffers
        if index not in joints:
            moved[index] = len(graph.tensors)
            graph.tensors.append(tensor)
    first.buffers += second.buffers
    return moved


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
