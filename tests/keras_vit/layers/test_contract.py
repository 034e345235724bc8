"""What every layer promises, whatever it computes: one table of constructor arguments, every promise for every row."""

import dataclasses
import functools
import json

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from keras_vit import layers
from keras_vit.layers.attention import Projection

GRID = {"prefix_tokens": 1, "grid": (2, 3)}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    layer: type[keras.layers.Layer]
    arguments: dict
    input_shape: tuple
    output_shape: tuple


CASES = {
    "patches": Case(layers.Patches, {"patch_size": 4}, (2, 8, 12, 3), (2, 6, 48)),
    "patch_encoder": Case(
        layers.PatchEncoder,
        {"width": 8, "position": "learned_2d", "dropout": 0.5, "grid": (2, 3)},
        (2, 6, 12),
        (2, 7, 8),
    ),
    "patch_encoder without extras": Case(
        layers.PatchEncoder, {"width": 8, "position": "none", "class_token": False}, (2, 6, 12), (2, 6, 8)
    ),
    "attention": Case(
        layers.Attention,
        {"heads": 2, "dropout": 0.5, "use_bias": False, "position": "relative", "prefix_tokens": 0},
        (2, 7, 8),
        (2, 7, 8),
    ),
    "attention without extras": Case(layers.Attention, {"heads": 2}, (2, 7, 8), (2, 7, 8)),
    "projection to heads": Case(Projection, {"heads": 2, "use_bias": True}, (2, 7, 8), (2, 7, 2, 4)),
    "projection of heads": Case(Projection, {"heads": None, "use_bias": False}, (2, 7, 2, 4), (2, 7, 8)),
    "mlp": Case(layers.MLP, {"mlp_width": 12, "dropout": 0.5, "gelu": "erf"}, (2, 7, 8), (2, 7, 8)),
    "block": Case(
        layers.TransformerBlock,
        {
            "heads": 2,
            "mlp_width": 12,
            "dropout": 0.4,
            "attention_dropout": 0.3,
            "stochastic_depth": 0.2,
            "gelu": "erf",
            "epsilon": 1e-5,
            "attention_bias": False,
            "position": "relative",
            **GRID,
        },
        (2, 7, 8),
        (2, 7, 8),
    ),
    "block without extras": Case(layers.TransformerBlock, {"heads": 2, "mlp_width": 12}, (2, 7, 8), (2, 7, 8)),
    "class token pooling": Case(layers.ClassTokenPooling, {}, (2, 7, 8), (2, 8)),
    "average pooling": Case(layers.GlobalAveragePooling, {"prefix_tokens": 1}, (2, 7, 8), (2, 8)),
    "attention pooling": Case(
        layers.AttentionPooling, {"heads": 2, "mlp_width": 12, "gelu": "erf", "epsilon": 1e-5}, (2, 7, 8), (2, 8)
    ),
    "learned_1d": Case(layers.Learned1D, GRID, (2, 7, 8), (2, 7, 8)),
    "learned_2d": Case(layers.Learned2D, GRID, (2, 7, 8), (2, 7, 8)),
    "sincos1d": Case(layers.Sincos1D, GRID, (2, 7, 8), (2, 7, 8)),
    "sincos2d": Case(layers.Sincos2D, GRID, (2, 7, 8), (2, 7, 8)),
    "standardised convolution": Case(
        layers.StandardisedConv2D,
        {"filters": 4, "kernel_size": 3, "stride": 2, "padding": "symmetric", "standardisation": "variance"},
        (2, 7, 8, 3),
        (2, 4, 4, 4),
    ),
    "group norm": Case(
        layers.GroupNorm, {"groups": 2, "epsilon": 1e-5, "gamma_initializer": "zeros"}, (2, 4, 5, 6), (2, 4, 5, 6)
    ),
    "post-activation root": Case(layers.PostActivationRoot, {"width": 32}, (2, 14, 16, 3), (2, 4, 4, 32)),
    "pre-activation root": Case(
        layers.PreActivationRoot, {"width": 32, "pool_padding": "lowest"}, (2, 14, 16, 3), (2, 4, 4, 32)
    ),
    "post-activation unit": Case(layers.PostActivationUnit, {"width": 32, "stride": 2}, (2, 5, 6, 64), (2, 3, 3, 128)),
    "pre-activation unit": Case(layers.PreActivationUnit, {"width": 32, "stride": 2}, (2, 5, 6, 64), (2, 3, 3, 128)),
    "post-activation unit without extras": Case(
        layers.PostActivationUnit, {"width": 32}, (2, 5, 6, 128), (2, 5, 6, 128)
    ),
    "pre-activation unit without extras": Case(layers.PreActivationUnit, {"width": 32}, (2, 5, 6, 128), (2, 5, 6, 128)),
}

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def new(case, **arguments):
    """A layer, built and with random weights, and inputs for it."""
    layer, inputs = case.layer(**case.arguments, **arguments), oracle.normal(*case.input_shape)
    layer(inputs)
    oracle.randomise(layer)
    return layer, inputs


@functools.cache
def made(case):
    """The same for all tests that leave it as it is."""
    return new(case)


def test_every_layer_is_in_the_table():
    # Positions inside attention take queries and keys; they are here in the attention that they are part of.
    assert {case.layer.__name__ for case in CASES.values()} | {"RelativePosition"} == {*layers.__all__, "Projection"}


@every_case
def test_config_has_every_argument_as_given(case):
    config = case.layer(**case.arguments).get_config()
    assert {name: config[name] for name in case.arguments} == case.arguments


@every_case
def test_layer_comes_back_from_json(case):
    layer, inputs = made(case)
    serialised = json.dumps(keras.saving.serialize_keras_object(layer), sort_keys=True)
    again = keras.saving.deserialize_keras_object(json.loads(serialised))
    again(inputs)
    again.set_weights(layer.get_weights())
    assert (
        json.dumps(keras.saving.serialize_keras_object(again), sort_keys=True).replace(again.name, layer.name)
        == serialised
    )
    np.testing.assert_array_equal(again(inputs), layer(inputs))
    assert case.layer.from_config(layer.get_config()).get_config() == layer.get_config()


@every_case
def test_output_shape_is_known_before_it_is_computed(case):
    layer, inputs = made(case)
    unknown_batch = layer(keras.Input(case.input_shape[1:]))
    assert layer(inputs).shape == case.output_shape
    assert layer.compute_output_spec(keras.KerasTensor(case.input_shape)).shape == case.output_shape
    assert unknown_batch.shape == (None, *case.output_shape[1:])


@every_case
def test_built_weights_are_the_same_from_shape_and_from_data(case):
    layer, _ = made(case)
    built = case.layer(**case.arguments)
    built.build(case.input_shape)
    assert [v.shape for v in built.weights] == [v.shape for v in layer.weights]


@every_case
def test_output_shape_of_an_unbuilt_layer_agrees_where_it_is_given(case):
    if "compute_output_shape" in vars(case.layer):
        assert tuple(case.layer(**case.arguments).compute_output_shape(case.input_shape)) == case.output_shape


@every_case
def test_mixed_precision_computes_in_bfloat16_and_stores_float32(case):
    layer, inputs = new(case, dtype="mixed_bfloat16")
    check_mixed(layer, layer(inputs))
    assert layer(keras.Input(case.input_shape[1:])).dtype == "bfloat16"
    np.testing.assert_allclose(tf.cast(layer(inputs), "float32"), made(case)[0](inputs), rtol=0.1, atol=0.15)


@every_case
def test_global_policy_is_followed_where_no_dtype_is_given(case, policy):
    made(case)
    policy("mixed_bfloat16")
    layer, inputs = new(case)
    check_mixed(layer, layer(inputs))
    layer, inputs = new(case, dtype="float32")
    assert layer(inputs).dtype == "float32"
    assert {part.compute_dtype for part in parts(layer)} == {"float32"}


def check_mixed(layer, outputs):
    assert outputs.dtype == "bfloat16"
    assert {weight.dtype for path, weight in oracle.weights(layer).items()} <= {"float32"}
    assert {part.compute_dtype for part in parts(layer)} == {"bfloat16"}


def parts(layer):
    return layer._flatten_layers()


@every_case
def test_dropout_acts_in_training_only(case):
    layer, inputs = made(case)
    np.testing.assert_array_equal(layer(inputs, training=False), layer(inputs))
    changes = not np.array_equal(layer(inputs, training=True), layer(inputs))
    assert changes == any(case.arguments.get(rate) for rate in ("dropout", "attention_dropout", "stochastic_depth"))


@every_case
def test_gradient_reaches_every_weight(case):
    layer, inputs = made(case)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(inputs) * oracle.normal(*case.output_shape, seed=3))
    trainable = {path: weight for path, weight in oracle.weights(layer).items() if weight.trainable}
    gradients = tape.gradient(loss, {path: weight.value for path, weight in trainable.items()})
    assert [path for path, gradient in gradients.items() if gradient is None] == []
    zero = [path for path, gradient in gradients.items() if np.max(np.abs(tf.convert_to_tensor(gradient))) < 1e-6]
    # A key bias shifts all logits of a query alike, which the softmax does not see.
    assert [path for path in zero if not path.endswith("key/bias")] == []


@every_case
def test_all_weights_are_trainable(case):
    layer, _ = made(case)
    assert all(weight.trainable for weight in oracle.weights(layer).values())


def test_layers_survive_a_saved_functional_model(tmp_path):
    """All of them beside each other in one model, each with inputs of its own."""
    everything = {name.replace(" ", "_").replace("-", "_"): made(case) for name, case in CASES.items()}
    images = {name: keras.Input(inputs.shape[1:], name=name) for name, (_, inputs) in everything.items()}
    model = keras.Model(images, {name: layer(images[name]) for name, (layer, _) in everything.items()})
    model.save(tmp_path / "layers.keras")
    outputs = keras.models.load_model(tmp_path / "layers.keras")({name: x for name, (_, x) in everything.items()})
    for name, (layer, inputs) in everything.items():
        np.testing.assert_array_equal(outputs[name], layer(inputs), err_msg=name)
