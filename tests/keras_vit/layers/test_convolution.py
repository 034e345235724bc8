"""Weight standardisation, padding and group normalisation against direct sums in float64."""

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from keras_vit.layers.convolution import STANDARDISATIONS, GroupNorm, StandardisedConv2D


def standardised(kernel, kind):
    """Each filter less its mean, over its deviation."""
    flat = np.asarray(kernel, "float64").reshape(-1, kernel.shape[-1])
    deviation = flat.std(axis=0)
    divisor = {"deviation": deviation + 1e-5, "variance": np.sqrt(deviation**2 + 1e-10)}[kind]
    return ((flat - flat.mean(axis=0)) / divisor).reshape(kernel.shape)


def convolved(images, kernel, stride, before):
    """(B, H, W, O): sums over windows that begin `before` = (rows, columns) ahead of every stride-th pixel."""
    side = kernel.shape[0]
    rows, columns = (-(-length // stride) for length in images.shape[1:3])
    padded = np.pad(np.asarray(images, "float64"), ((0, 0), *((margin, side) for margin in before), (0, 0)))
    outputs = np.zeros((len(images), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, i * stride : i * stride + side, j * stride : j * stride + side]
            outputs[:, i, j] = np.einsum("bhwc,hwco->bo", window, kernel)
    return outputs


def same_before(length, side, stride):
    """TensorFlow's rule: of the zeros needed, the smaller half before."""
    return max((-(-length // stride) - 1) * stride + side - length, 0) // 2


def with_kernel(inputs=3, **arguments):
    layer = StandardisedConv2D(4, **arguments)
    layer.build((None, None, None, inputs))
    return layer, oracle.randomise(layer)["kernel"]


# By hand: kernel values 0 ... 7 of shape (2, 2, 1, 2).
@pytest.mark.parametrize(
    "kind, values", [("deviation", (1.34163479, 0.4472116)), ("variance", (1.34164079, 0.4472136))]
)
def test_standardised_kernel_is_the_published_example(kind, values):
    kernel = STANDARDISATIONS[kind](keras.ops.reshape(keras.ops.arange(8, dtype="float32"), (2, 2, 1, 2)))
    large, small = values
    for channel in range(2):
        np.testing.assert_allclose(np.ravel(kernel[..., channel]), [-large, -small, small, large], rtol=2e-7)


@pytest.mark.parametrize("kind", STANDARDISATIONS)
@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("side, stride", [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("height, width", [(8, 9), (5, 2)])
def test_convolution_is_the_sum_over_windows(kind, padding, side, stride, height, width):
    layer, kernel = with_kernel(kernel_size=side, stride=stride, padding=padding, standardisation=kind)
    images = oracle.normal(2, height, width, 3)
    before = (side // 2, side // 2)
    if padding == "same":
        before = tuple(same_before(length, side, stride) for length in (height, width))
    expected = convolved(images, standardised(kernel, kind), stride, before)
    np.testing.assert_allclose(layer(images), expected, rtol=1e-5, atol=1e-5)
    assert layer.compute_output_shape((2, height, width, 3)) == expected.shape


@pytest.mark.parametrize("kind", STANDARDISATIONS)
def test_scale_and_offset_of_the_raw_kernel_do_not_matter(kind):
    layer, kernel = with_kernel(kernel_size=3, standardisation=kind)
    images = oracle.normal(2, 4, 4, 3)
    before = np.asarray(layer(images))
    layer.kernel.assign(3 * kernel + 5)
    np.testing.assert_allclose(layer(images), before, rtol=1e-3, atol=1e-3)


def test_moments_of_the_kernel_are_float32_under_mixed_precision():
    # In bfloat16 the differences of these weights would be lost.
    layer, kernel = with_kernel(kernel_size=1, inputs=64, dtype="mixed_bfloat16")
    layer.kernel.assign(100 + 0.01 * kernel)
    full, _ = with_kernel(kernel_size=1, inputs=64)
    full.set_weights(layer.get_weights())
    images = oracle.normal(2, 3, 3, 64)
    np.testing.assert_allclose(tf.cast(layer(images), "float32"), full(images), atol=0.2)
    assert layer(images).dtype == tf.bfloat16


def normalised(images, groups, epsilon):
    batch, height, width, channels = images.shape
    parts = np.asarray(images, "float64").reshape(batch, height, width, groups, channels // groups)
    axes = {"axis": (1, 2, 4), "keepdims": True}
    return ((parts - parts.mean(**axes)) / np.sqrt(parts.var(**axes) + epsilon)).reshape(images.shape)


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("centre", [0, 1000])
def test_group_norm_is_the_formula(groups, centre):
    images = oracle.normal(2, 4, 5, 6) + centre
    layer = GroupNorm(groups, epsilon=0.1)
    layer(images)
    arrays = oracle.randomise(layer)
    expected = normalised(images, groups, 0.1) * arrays["gamma"] + arrays["beta"]
    np.testing.assert_allclose(layer(images), expected, rtol=1e-5, atol=1e-5 if centre == 0 else 1e-3)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_group_norm_adds_up_in_float32(dtype):
    # 1000 squared is beyond float16, and past 256 a sum of ones stands still in bfloat16.
    signs = np.where(np.arange(32 * 32) % 2, 1.0, -1.0).reshape(1, 32, 32, 1)
    layer = GroupNorm(1, dtype=dtype)
    np.testing.assert_array_equal(tf.cast(layer(1000 * signs), "float32"), signs)


def test_group_norm_refuses_groups_that_do_not_divide():
    with pytest.raises(ValueError, match="6 channels do not divide into 4 groups"):
        GroupNorm(4)(oracle.normal(1, 2, 2, 6))


@pytest.mark.parametrize(
    "arguments, fragments",
    [({"padding": "valid"}, "'valid'.*same, symmetric"), ({"standardisation": "x"}, "'x'.*deviation, variance")],
)
def test_unknown_choice_is_refused(arguments, fragments):
    with pytest.raises(ValueError, match=fragments):
        StandardisedConv2D(4, 3, **arguments)
