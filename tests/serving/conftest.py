import keras
import numpy as np
import pytest

import keras_vit
from keras_vit.export import saved_model
from keras_vit.export.answering import Answering


@pytest.fixture(scope="session")
def model():
    keras.utils.set_random_seed(0)
    model = keras_vit.build("mu/16", image_size=32, num_classes=4, class_names=["ant", "bée", "cat", "emu"])
    for weight in model.trainable_variables:  # a new head answers zero
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.2))
    return model


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    """The folder of a SavedModel."""
    folder = tmp_path_factory.mktemp("export") / "1"
    saved_model.write(model, folder, answering=Answering(top=2), provenance={})
    return folder


@pytest.fixture(scope="session")
def picture():
    """uint8 (45, 70, 3)."""
    rows, columns = np.mgrid[0:45, 0:70]
    return np.stack([(rows * (3 + c) + columns * 2) % 256 for c in range(3)], axis=-1).astype("uint8")


@pytest.fixture(scope="session")
def probabilities_of(model):
    """Of an image (H, W, 3), by the model itself."""
    import tensorflow as tf

    from keras_vit.images import transform

    def probabilities_of(image):
        return tf.nn.softmax(model(transform.apply(tf.constant(image), model.preprocessing)[None]))[0].numpy()

    return probabilities_of
