"""The test-time transform against TensorFlow's own resizing."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vit import Preprocessing
from keras_vit.export import preprocessing

SIZES = [((8, 8), (16, 16)), ((37, 53), (16, 24)), ((20, 9), (41, 5)), ((1, 1), (4, 4)), ((64, 64), (64, 64))]


def image_of(size, channels=3):
    return np.random.default_rng(0).integers(0, 256, (*size, channels)).astype("uint8")


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "area"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_two_matrix_products_equal_tensorflows_resize(kernel, antialias, source, target):
    image = image_of(source)
    ours = preprocessing.resize_to(image, target, kernel, antialias)
    theirs = tf.image.resize(image, target, kernel, antialias=antialias)
    # TensorFlow looks the plain bicubic kernel up in a table of 1024 entries.
    tolerance = 0.2 if (kernel, antialias) == ("bicubic", False) else 2e-3
    assert np.abs(ours - theirs).max() < tolerance


def test_inside_a_graph_of_unknown_size():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    def graph(image):
        return preprocessing.transform(image, Preprocessing(size=(16, 16), crop=0.875))

    image = image_of((50, 31))
    eager = preprocessing.transform(tf.constant(image), Preprocessing(size=(16, 16), crop=0.875))
    assert graph(image).shape == (16, 16, 3)
    assert np.allclose(graph(image), eager, atol=1e-5)


def test_values_are_scaled_by_mean_and_std():
    grey = np.full((4, 4, 3), 255, "uint8")
    assert np.allclose(preprocessing.transform(tf.constant(grey), Preprocessing(size=(4, 4))), 1.0)
    other = Preprocessing(size=(4, 4), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    assert np.allclose(preprocessing.transform(tf.constant(grey), other)[0, 0], [1.0, 1.0, 0.0])


@pytest.mark.parametrize("shape", [(40, 80), (80, 40), (64, 64), (10, 200)])
def test_a_crop_keeps_the_aspect_and_the_centre(shape):
    """A wide ramp, cropped at its centre, stays symmetric about its middle."""
    ramp = np.broadcast_to(np.linspace(0, 255, shape[1])[None, :, None], (*shape, 3)).astype("float32")
    cropped = preprocessing.resize(tf.constant(ramp), Preprocessing(size=(32, 32), crop=1.0, antialias=True)).numpy()
    assert np.allclose(cropped + cropped[:, ::-1], 255, atol=255 / 16)
    slope = np.diff(cropped[16, :, 0]).mean()
    assert slope == pytest.approx(255 / shape[1] * min(shape) / 32, rel=0.1)


def test_an_unknown_kernel_lists_the_choices():
    with pytest.raises(ValueError, match="bilinear, bicubic, area"):
        preprocessing.resize_to(image_of((4, 4)), (2, 2), "lanczos")


def test_the_description_names_the_same_kernels():
    from keras_vit.preprocessing import RESIZES

    assert tuple(preprocessing.KERNELS) == RESIZES
