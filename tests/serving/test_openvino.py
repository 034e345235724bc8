"""The exported graph in OpenVINO, which reads it by code of its own."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.images import transform
from trainers.exporting import openvino_session

pytestmark = pytest.mark.slow
pytest.importorskip("openvino", reason="needs OpenVINO: pip install openvino -c constraints/cpu.txt")


def test_pixels_of_the_saved_model(exported, model, picture, probabilities_of):
    fed = transform.transform(tf.constant(picture), model.preprocessing).numpy()
    with openvino_session.opened(exported) as answer:
        found = answer(np.stack([fed, fed]))
    np.testing.assert_allclose(found, [probabilities_of(picture)] * 2, atol=1e-6)
