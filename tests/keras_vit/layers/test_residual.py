"""Order of norms, activations and additions in both kinds of units, and what both roots pad with."""

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf
from keras import ops

from keras_vit.layers import PostActivationRoot, PostActivationUnit, PreActivationRoot, PreActivationUnit

UNITS = (PostActivationUnit, PreActivationUnit)
# Channels in, stride: the identity as shortcut, and both reasons for a projection.
SHORTCUTS = [(128, 1), (64, 1), (128, 2)]


def made(kind, channels, stride):
    unit = kind(32, stride)
    images = oracle.normal(2, 6, 7, channels)
    unit(images)
    oracle.randomise(unit)
    return unit, images


@pytest.mark.parametrize("channels, stride", SHORTCUTS)
def test_post_activation(channels, stride):
    unit, images = made(PostActivationUnit, channels, stride)
    branch = ops.relu(unit.norm_0(unit.conv_0(images)))
    branch = unit.norm_2(unit.conv_2(ops.relu(unit.norm_1(unit.conv_1(branch)))))
    projected = (channels, stride) != (128, 1)
    shortcut = unit.projection_norm(unit.projection(images)) if projected else images
    np.testing.assert_array_equal(unit(images), ops.relu(shortcut + branch))
    assert {norm.epsilon for norm in (unit.norm_0, unit.norm_1, unit.norm_2)} == {1e-6}
    assert (unit.conv_1.padding, unit.conv_1.standardisation) == ("same", "deviation")


@pytest.mark.parametrize("channels, stride", SHORTCUTS)
def test_pre_activation(channels, stride):
    unit, images = made(PreActivationUnit, channels, stride)
    active = ops.relu(unit.norm_0(images))
    branch = unit.conv_1(ops.relu(unit.norm_1(unit.conv_0(active))))
    branch = unit.conv_2(ops.relu(unit.norm_2(branch)))
    projected = (channels, stride) != (128, 1)
    np.testing.assert_array_equal(unit(images), (unit.projection(active) if projected else images) + branch)
    assert {norm.epsilon for norm in (unit.norm_0, unit.norm_1, unit.norm_2)} == {1e-5}
    assert (unit.conv_1.padding, unit.conv_1.standardisation) == ("symmetric", "variance")


@pytest.mark.parametrize("kind", UNITS)
def test_stride_is_that_of_the_middle_convolution_and_the_projection(kind):
    unit, _ = made(kind, 128, 2)
    convolutions = (unit.conv_0, unit.conv_1, unit.conv_2, unit.projection)
    assert [each.stride for each in convolutions] == [1, 2, 1, 2]
    assert [each.kernel_size for each in convolutions] == [1, 3, 1, 1]
    assert [each.filters for each in convolutions] == [32, 32, 128, 128]


def test_post_activation_unit_starts_as_its_shortcut():
    unit = PostActivationUnit(32)
    images = oracle.normal(2, 4, 4, 128)
    np.testing.assert_array_equal(unit(images), np.maximum(images, 0))


@pytest.mark.parametrize("padding, beyond", [("zeros", 0.0), ("lowest", -np.inf)])
def test_what_lies_beyond_the_border_of_the_root_pool(padding, beyond):
    root = PreActivationRoot(32, padding)
    images = oracle.normal(1, 9, 12, 3)
    root(images)
    oracle.randomise(root)
    before = np.pad(np.asarray(root.conv(images)), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=beyond)
    expected = [[before[:, i : i + 3, j : j + 3].max(axis=(1, 2)) for j in (0, 2, 4)] for i in (0, 2, 4)]
    np.testing.assert_array_equal(root(images), np.stack(expected).transpose(2, 0, 1, 3))


def test_post_activation_root_is_conv_norm_relu_pool():
    root = PostActivationRoot(32)
    images = oracle.normal(2, 16, 16, 3)
    root(images)
    oracle.randomise(root)
    before = np.asarray(ops.relu(root.norm(root.conv(images))))
    # On an even side TensorFlow's rule pads after only.
    padded = np.pad(before, ((0, 0), (0, 1), (0, 1), (0, 0)))
    expected = [[padded[:, i : i + 3, j : j + 3].max(axis=(1, 2)) for j in (0, 2, 4, 6)] for i in (0, 2, 4, 6)]
    np.testing.assert_array_equal(root(images), np.stack(expected).transpose(2, 0, 1, 3))


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "xla"])
def test_recomputation_changes_nothing(kind, jit):
    unit, images = made(kind, 64, 2)

    def gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(unit(images, training=True)))
        return [loss, *tape.gradient(loss, [weight.value for weight in unit.trainable_weights])]

    answers = []
    for unit.recompute in (False, True):
        answers.append(tf.function(gradients, jit_compile=jit)(images))
    for plain, again in zip(*answers, strict=True):
        np.testing.assert_allclose(again, plain, rtol=0, atol=1e-5 * np.abs(plain).max())


def test_recomputation_keeps_less():
    unit, images = made(PreActivationUnit, 128, 1)
    unit.recompute = True
    calls = []
    original = unit._forward
    unit._forward = lambda images: calls.append(1) or original(images)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(unit(images, training=True))
    tape.gradient(loss, unit.conv_0.kernel.value)
    assert len(calls) == 2
    unit(images)
    assert len(calls) == 3


def test_unknown_padding_is_refused():
    with pytest.raises(ValueError, match=r"'ones'.*zeros, lowest"):
        PreActivationRoot(32, "ones")


def test_maps_of_unknown_size_are_served():
    images = keras.Input((None, None, 64))
    assert PreActivationUnit(32, 2)(images).shape == (None, None, None, 128)
