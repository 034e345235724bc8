import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from keras_vit.export import saved_model
from keras_vit.export.answering import Answering

NAMES = ["ant", "bée", "crested cat"]


@pytest.fixture(scope="session")
def model():
    keras.utils.set_random_seed(0)
    model = keras_vit.build("mu/16", image_size=32, depth=1, num_classes=3, class_names=NAMES)
    for weight in model.trainable_variables:  # a new head answers zero
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.2))
    return model


@pytest.fixture(scope="session")
def headless():
    keras.utils.set_random_seed(1)
    return keras_vit.build("mu/16", image_size=32, depth=1, num_classes=0)


@pytest.fixture(scope="session")
def places(model, headless, tmp_path_factory):
    """A folder: export/ with two versions, features/, m.keras, features.keras."""
    folder = tmp_path_factory.mktemp("predictors")
    saved_model.write(model, folder / "export" / "10", answering=Answering(), provenance={})
    (folder / "export" / "9").mkdir()  # older, and broken
    (folder / "export" / "9" / "saved_model.pb").write_bytes(b"broken")
    saved_model.write(headless, folder / "features", answering=Answering(), provenance={})
    model.save(folder / "m.keras")
    headless.save(folder / "features.keras")
    return folder


def picture(seed, height=24, width=40):
    """uint8 (H, W, 3)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([(rows * (seed + 3 * c) + columns * 2 * seed) % 256 for c in range(3)], axis=-1).astype("uint8")


@pytest.fixture(scope="session")
def encoded():
    """Three images, and between them what is none."""
    good = [
        tf.io.encode_png(picture(1)).numpy(),
        tf.io.encode_jpeg(picture(7, 50, 30)).numpy(),
        tf.io.encode_png(picture(11, 32, 32)).numpy(),
    ]
    return [good[0], b"not an image", good[1], good[1][:100], b"", good[2]]
