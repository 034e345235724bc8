"""Fixes the size of the images that a .tflite takes, for runtimes that do without free sizes, such as LiteRT.js.

python docs/checks/litert_js/fixed_size.py model.tflite browser.tflite 224x224

Only the input's shape is written anew; its associated files go along. A page scales a picture to that size itself, best
to a size somewhat above the model's own, so that the model's own resizing sees enough.
"""

import pathlib
import sys
import zipfile

from tensorflow.lite.tools import flatbuffer_utils


def fix(source: pathlib.Path, destination: pathlib.Path, size: tuple[int, int]) -> None:
    """Writes a file of batch 1 that takes images of `size`, (height, width), only."""
    model = flatbuffer_utils.read_model(str(source))
    (graph,) = model.subgraphs
    (number,) = graph.inputs
    images = graph.tensors[number]
    images.shape, images.shapeSignature = [1, *size, int(images.shape[-1])], None
    destination.write_bytes(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as files, zipfile.ZipFile(destination, "a") as copies:
            for name in files.namelist():
                copies.writestr(name, files.read(name))


if __name__ == "__main__":
    source, destination, size = sys.argv[1:]
    height, width = size.split("x")
    fix(pathlib.Path(source), pathlib.Path(destination), (int(height), int(width)))
