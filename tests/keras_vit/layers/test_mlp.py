import numpy as np
import oracle
import pytest
import reference
import tensorflow as tf

from keras_vit.layers import MLP
from keras_vit.layers.mlp import GELUS
from keras_vit.variants import CHOICES


def made(**arguments):
    layer, inputs = MLP(12, **arguments), oracle.normal(2, 7, 8)
    layer(inputs)
    return layer, inputs, oracle.randomise(layer)


def test_forms_are_those_an_architecture_may_name():
    assert tuple(GELUS) == CHOICES["gelu"]


@pytest.mark.parametrize("gelu", GELUS)
def test_mlp_is_the_reference(gelu):
    layer, inputs, arrays = made(gelu=gelu)
    np.testing.assert_allclose(layer(inputs), reference.mlp(inputs, oracle.official(arrays), gelu), **oracle.TOLERANCE)


# By the definitions, to eight digits.
@pytest.mark.parametrize(
    "x, tanh, erf",
    [
        (1, 0.84119199, 0.84134475),
        (-1, -0.15880801, -0.15865525),
        (2, 1.95459769, 1.95449974),
        (-0.5, -0.15428599, -0.15426877),
        (3, 2.99636261, 2.99595031),
    ],
)
def test_gelus_have_the_known_values(x, tanh, erf):
    assert float(GELUS["tanh"](tf.constant(x, "float32"))) == pytest.approx(tanh, abs=5e-7)
    assert float(GELUS["erf"](tf.constant(x, "float32"))) == pytest.approx(erf, abs=5e-7)


@pytest.mark.parametrize("gelu", GELUS)
def test_gelus_are_the_reference_everywhere(gelu):
    x = np.linspace(-8, 8, 2001, dtype="float32")
    np.testing.assert_allclose(GELUS[gelu](tf.constant(x)), reference.gelu(x, gelu), atol=1e-6)


@pytest.mark.parametrize("gelu", GELUS)
def test_gelus_are_made_of_operations_that_converters_know(gelu):
    layer = MLP(12, gelu=gelu)
    layer.build((None, 7, 8))
    assert "Erfc" not in {op.type for op in oracle.operations(layer, 1, 7, 8)}


def test_dropout_comes_after_the_activation_and_after_the_second_layer():
    # With an identity for the second layer the output shows which of the two masks fell where.
    layer = MLP(8, dropout=0.25)
    inputs = oracle.normal(60, 7, 8)
    layer(inputs)
    oracle.randomise(layer)
    oracle.assign(layer, dense_1_kernel=np.eye(8), dense_1_bias=np.zeros(8))
    ratios = np.asarray(layer(inputs, training=True)) / np.asarray(layer(inputs))
    assert np.all(np.isclose(ratios, 0) | np.isclose(ratios, 1 / 0.75**2, rtol=1e-4))
    assert np.mean(ratios == 0) == pytest.approx(1 - 0.75**2, abs=0.03)


def test_dropout_after_the_second_layer_covers_its_bias():
    layer, inputs, arrays = made(dropout=0.5)
    oracle.assign(layer, dense_1_kernel=np.zeros((12, 8)))
    outputs, bias = np.asarray(layer(inputs, training=True)), arrays["dense_1/bias"]
    assert np.all(np.isclose(outputs, 0) | np.isclose(outputs, 2 * bias))
    assert np.any(outputs == 0) and np.any(outputs != 0)


# As Flax initialises the paper's code: sqrt(6 / (D + M)).
LIMITS = [("Ti", 192, 768, 0.07906), ("S", 384, 1536, 0.05590), ("B", 768, 3072, 0.03953), ("L", 1024, 4096, 0.03423)]
LIMITS += [("H", 1280, 5120, 0.03062)]


@pytest.mark.parametrize("size, width, mlp_width, limit", LIMITS)
def test_kernels_start_as_glorot_uniform(size, width, mlp_width, limit):
    layer = MLP(mlp_width)
    layer.build((None, 1, width))
    arrays = oracle.values(layer)
    for kernel in (arrays["dense_0/kernel"], arrays["dense_1/kernel"]):
        assert np.abs(kernel).max() == pytest.approx(limit, rel=2e-3)
        assert np.std(kernel) == pytest.approx(limit / 3**0.5, rel=0.02)


def test_biases_start_almost_at_zero():
    layer = MLP(3072)
    layer.build((None, 1, 768))
    arrays = oracle.values(layer)
    for bias in (arrays["dense_0/bias"], arrays["dense_1/bias"]):
        assert np.std(bias) == pytest.approx(1e-6, rel=0.1)
        assert np.mean(bias) == pytest.approx(0, abs=2e-7)


def test_unknown_gelu_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"'relu'.*tanh, erf"):
        MLP(12, gelu="relu")
