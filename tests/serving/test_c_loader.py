"""The exported graph in TensorFlow's C loader, which is TF Serving's, without Python."""

import os
import pathlib
import shutil
import subprocess
import sysconfig

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from keras_vit.images import transform

pytestmark = pytest.mark.slow
SOURCE = pathlib.Path(__file__).parent / "load_saved_model.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc, or CC=...")
    library = pathlib.Path(tf.sysconfig.get_lib())
    libraries = [
        name for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2") if (library / name).exists()
    ]
    if len(libraries) < 2:
        pytest.skip(
            f"{library} has no libtensorflow_cc.so.2; the Linux wheels of tensorflow have ({sysconfig.get_platform()})"
        )
    path = tmp_path_factory.mktemp("program") / "load_saved_model"
    command = [compiler, "-O1", "-Wall", "-Werror", "-o", path, SOURCE, f"-I{tf.sysconfig.get_include()}"]
    command += [f"-L{library}", *(f"-l:{name}" for name in libraries), f"-Wl,-rpath,{library}"]
    subprocess.run([*command, "-Wl,--unresolved-symbols=ignore-in-shared-libs"], check=True, timeout=600)
    return path


@pytest.fixture(scope="module")
def asked(program, exported):
    """Runs the program on one signature: the numbers that it prints, or what it says on failing."""
    graph = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes()).meta_graphs[0]

    def asked(signature, output, *arguments):
        info = graph.signature_def[signature]
        ((_, given),) = info.inputs.items()
        command = [program, exported, given.name, info.outputs[output].name, *arguments]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
        return np.array(done.stdout.split(), "float32") if done.returncode == 0 else done.stderr

    return asked


def test_bytes(asked, picture, probabilities_of, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for path, encode in zip(paths, (tf.io.encode_png, tf.io.encode_jpeg), strict=True):
        path.write_bytes(encode(picture).numpy())
    found = asked("serving_default", "probabilities", "string", *paths)
    expected = [probabilities_of(tf.io.decode_image(path.read_bytes())) for path in paths]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-6)


def test_pixels(asked, picture, probabilities_of, model, tmp_path):
    fed = transform.apply(tf.constant(picture), model.preprocessing).numpy()
    (tmp_path / "pixels").write_bytes(fed.tobytes())
    found = asked("pixels", "probabilities", "float", tmp_path / "pixels", "1", *map(str, fed.shape))
    np.testing.assert_allclose(found, probabilities_of(picture), atol=1e-6)


def test_features(asked, picture, tmp_path):
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(picture).numpy())
    assert asked("features", "patch_grid", "string", tmp_path / "a.png").shape == (2 * 2 * 32,)


def test_what_is_no_image_is_an_error_and_no_crash(asked, tmp_path):
    (tmp_path / "text").write_bytes(b"no image")
    assert "neither of JPEG, PNG, GIF, BMP, WebP" in asked(
        "serving_default", "probabilities", "string", tmp_path / "text"
    )
