"""The exported graph in OpenVINO, which reads it by code of its own."""

import numpy as np
import pytest
import tensorflow as tf

from trainers.inference import openvino

pytestmark = pytest.mark.slow
pytest.importorskip("openvino", reason="needs OpenVINO: pip install openvino -c constraints/cpu.txt")


def test_pixels_of_the_saved_model(exported, picture, probabilities_of):
    predictor = openvino.opened(str(exported))
    assert (predictor.output, predictor.labels) == ("probabilities", ("ant", "bée", "cat", "emu"))
    found = predictor.answer([tf.io.encode_png(picture).numpy()] * 2)
    np.testing.assert_allclose(found, [probabilities_of(picture)] * 2, atol=1e-6)
