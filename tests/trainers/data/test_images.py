"""Pixels of what a source holds: encoded, or decoded already."""

import numpy as np
import pytest
import tensorflow as tf

from trainers.data import images

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype("uint8")


@pytest.mark.parametrize("held", [tf.io.encode_png(PIXELS), tf.constant(PIXELS)], ids=["encoded", "pixels"])
def test_encoded_and_decoded_images_give_the_same(held):
    assert np.array_equal(images.decode(held, 3), PIXELS)
    assert np.array_equal(images.decode_crop(held, tf.constant([2, 3, 4, 5]), 3), PIXELS[2:6, 3:8])
    assert images.shape(held, 3).numpy().tolist() == [20, 30, 3]


def test_floats_stay_floats():
    held = tf.constant(PIXELS / 2, tf.float32)
    assert np.array_equal(images.decode(held, 3), PIXELS / 2)
    assert images.decode_crop(held, [0, 0, 4, 5], 3).dtype == tf.float32


def test_an_encoded_image_has_the_channels_that_are_asked_for():
    held = tf.io.encode_png(PIXELS)
    assert images.decode(held, 1).shape == (20, 30, 1)
    assert images.shape(held, 1).numpy().tolist() == [20, 30, 1]
