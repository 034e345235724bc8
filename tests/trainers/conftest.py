"""A tiny model and one export of it, made once for all tests that only look at them, on however many workers."""

import fcntl
import os
import pathlib

import keras
import pytest

import keras_vit
from keras_vit.export import conversion, tflite_conversion
from trainers import export

DIGITS = [str(number) for number in range(10)]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """From a name and a function of a folder to that folder, which the first worker to ask for it fills."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name, fill):
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / name).exists():
                (root / f"{name}.new").mkdir()
                fill(root / f"{name}.new")
                (root / f"{name}.new").rename(root / name)
        return root / name

    return made


@pytest.fixture(scope="session")
def tiny(made_once):
    """A `.keras` file: a model of the digits' shape whose answers differ from picture to picture."""

    def fill(folder):
        keras.utils.set_random_seed(0)
        model = keras_vit.build("mu/4", image_size=8, channels=1, num_classes=10, class_names=DIGITS)
        for weight in model.trainable_variables:
            weight.assign_add(keras.random.normal(weight.shape, stddev=0.3))
        model.save(folder / "tiny digits.keras")

    return made_once("tiny", fill) / "tiny digits.keras"


def converted_here(what, module, arguments, in_a_process=conversion.run):
    """`conversion.run` that converts to LiteRT without a process of its own, which takes longest to start."""
    if module != tflite_conversion.__name__:
        return in_a_process(what, module, arguments)
    quantization, saved_model, output = map(str, arguments)
    return pathlib.Path(output).write_bytes(tflite_conversion.converted(quantization, saved_model))


@pytest.fixture(scope="session")
def tiny_export(tiny, made_once):
    """The folder of its one version: what is exported by default, and `onnx`, held against digits."""
    for package in ("ai_edge_litert", "tensorflow_serving", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package, reason="pip install -e '.[export,onnx]'")

    def fill(folder):
        flags = {"formats": "saved_model,tflite,onnx", "source": "digits", "check_images": 16}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(conversion, "run", converted_here)
            export.run(export.Settings(model=str(tiny), output=str(folder), fit_temperature=True, **flags))

    return made_once("tiny_export", fill)
