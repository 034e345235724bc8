"""LiteRT files one after the other: the first's outputs are the second's inputs."""

import functools

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils


def joined(parts: list[bytes], signature: str) -> bytes:
    """One flatbuffer that computes several in turn.

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
    whole.metadata = []  # What the converter noted was of the first part alone.
    return bytes(flatbuffer_utils.convert_object_to_bytearray(whole))


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
