"""Leaves a SavedModel one signature, pixels -> probabilities, so that OpenVINO, which decodes no images, reads it.

python docs/checks/openvino_pixels.py EXPORT/1 DESTINATION

Then openvino.Core().read_model(DESTINATION). OpenVINO takes the signature `serving_default` of a SavedModel and no
other, so `pixels` gets that name; the weights are copied as they are. Needs TensorFlow's protos, not its runtime.
"""

import pathlib
import shutil
import sys

from tensorflow.core.protobuf import saved_model_pb2


def leave_pixels(source: pathlib.Path, destination: pathlib.Path) -> None:
    """Writes the folder `destination`."""
    model = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    signatures = model.meta_graphs[0].signature_def
    pixels = signatures["pixels"]
    for name in set(pixels.outputs) - {"probabilities", "features"}:  # the latter of a model without a head
        del pixels.outputs[name]
    signatures["serving_default"].CopyFrom(pixels)
    for name in ("images", "pixels", "features"):
        del signatures[name]
    shutil.copytree(source / "variables", destination / "variables")
    (destination / "saved_model.pb").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    leave_pixels(*map(pathlib.Path, sys.argv[1:3]))
