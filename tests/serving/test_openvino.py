"""The exported graph in OpenVINO, which reads it by code of its own."""

import importlib.util
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.export import preprocessing

pytestmark = pytest.mark.slow
openvino = pytest.importorskip("openvino", reason="needs OpenVINO: pip install openvino -c constraints/cpu.txt")
CHECK = pathlib.Path(__file__).parents[2] / "docs" / "checks" / "openvino_pixels.py"
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}  # by default it may take half precision


def compiled(path):
    return openvino.compile_model(openvino.Core().read_model(path), "CPU", EXACTLY)


def test_pixels_of_the_saved_model(exported, model, picture, probabilities_of, tmp_path):
    spec = importlib.util.spec_from_file_location("openvino_pixels", CHECK)
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    check.leave_pixels(exported, tmp_path / "pixels")
    fed = preprocessing.transform(tf.constant(picture), model.preprocessing).numpy()
    found = compiled(tmp_path / "pixels")(np.stack([fed, fed]))
    np.testing.assert_allclose(found["probabilities"], [probabilities_of(picture)] * 2, atol=1e-6)
