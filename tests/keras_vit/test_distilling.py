"""What a teacher makes of images that were made for its student."""

import functools

import numpy as np
import oracle
import pytest

import keras_vit
from keras_vit.distilling import Teacher
from keras_vit.images import transform

SIZES = {"image_size": (24, 40), "patch_size": 8, "width": 8, "depth": 1, "heads": 2, "mlp_width": 12}
OTHER = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.1)}


@functools.cache
def model_of(own):
    model = keras_vit.build(keras_vit.Architecture(**SIZES, num_classes=3, dropout=0.5), preprocessing=own)
    oracle.randomise(model)
    return model


def teacher(size=(24, 40), seen=None, **scale):
    own = keras_vit.Preprocessing(size=(24, 40), resize="bicubic", crop=0.9, **scale)
    return Teacher(model_of(own), keras_vit.Preprocessing(size=size, **(seen or {})))


@pytest.mark.parametrize("size", [(24, 40), (16, 64), (48, 80), (32, 32)], ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("scales", [({}, {}), (OTHER, {}), ({}, OTHER)], ids=["same scale", "its own", "the student's"])
def test_images_come_as_the_test_time_transform_would_make_them(size, scales):
    own, seen = scales
    wrapped = teacher(size, seen, **own)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
    images = np.stack([transform.scale(image, wrapped.seen) for image in pixels])
    expected = [transform.resize_to(image, (24, 40), "bilinear", antialias=True) for image in pixels]
    expected = np.stack([transform.scale(image, wrapped.model.preprocessing) for image in expected])
    np.testing.assert_allclose(wrapped.images(images), expected, atol=2e-5)
    np.testing.assert_allclose(wrapped(images), wrapped.model(expected), atol=1e-4)


def test_images_of_the_same_kind_stay_what_they_are():
    images = oracle.images(teacher().model.architecture)
    np.testing.assert_array_equal(teacher().images(images), images)


def test_dropout_is_off():
    wrapped = teacher()
    images = oracle.images(wrapped.model.architecture)
    np.testing.assert_array_equal(wrapped(images), wrapped(images))
