"""Hybrids and BiT ResNets as models: counts, names, starting values, precision, XLA, and what they carry."""

import functools
import math

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from keras_vit import Architecture, BitArchitecture, BitResNet, VisionTransformer, build, count_params, flops, parse
from keras_vit.vit import recompute


def small(**fields):
    """A ResNet of two stages, its image neither square nor even."""
    return BitArchitecture(**{"image_size": (9, 16), "units": (2, 1), "root_width": 32, "num_classes": 3, **fields})


def hybrid(**fields):
    sizes = {"image_size": (16, 32), "patch_size": 16, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12}
    return Architecture(**{**sizes, "stem": (2, 1), "root_width": 32, "num_classes": 3, **fields})


ARCHITECTURES = {"bit": small(), "hybrid": hybrid(), "root alone": hybrid(stem=())}
every_family = pytest.mark.parametrize("a", ARCHITECTURES.values(), ids=ARCHITECTURES)


@functools.cache
def built(a):
    """For tests that leave it as it is."""
    return randomised(a)[0]


def randomised(a, **arguments):
    model = build(a, **arguments)
    oracle.randomise(model)
    return model, oracle.images(a)


@every_family
def test_parameter_count_is_the_models(a):
    model = built(a)
    assert model.count_params() == count_params(a)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == count_params(a)


@every_family
def test_flops_are_the_products_in_the_graph(a):
    operations = oracle.operations(built(a), 1, *a.image_shape)
    convolved = 0
    for operation in operations:
        if operation.type == "Conv2D":
            kernel, outputs = operation.inputs[1].shape, operation.outputs[0].shape
            convolved += math.prod(kernel[:3]) * math.prod(outputs)
    if isinstance(a, BitArchitecture):
        assert 2 * (convolved + a.features * a.num_classes) == flops(a)
    else:
        without = flops(a) - flops(a.replace(stem=None, root_width=64, patch_size=16, channels=a.channels))
        patches = 2 * a.grid[0] * a.grid[1] * a.width
        patches *= a.map_patch_size**2 * a.map_channels - a.patch_size**2 * a.channels
        assert 2 * convolved == without - patches


@pytest.mark.parametrize("image_size", [(1, 1), (4, 7), (32, 33)])
def test_grid_is_that_of_the_last_feature_map(image_size):
    a = small(image_size=image_size, units=(1, 1, 1))
    assert build(a).get_layer("norm").output.shape[1:] == (*a.grid, a.features)


def test_layers_have_the_fixed_names_in_order():
    units = ["images", "root", "stage_0_unit_0", "stage_0_unit_1", "stage_1_unit_0"]
    assert [layer.name for layer in built(small()).layers] == [*units, "norm", "relu", "pool", "pre_logits", "head"]
    encoder = ["patches", "patch_encoder", "block_0", "block_1", "norm", "pool", "pre_logits", "head"]
    assert [layer.name for layer in built(hybrid()).layers] == [*units, *encoder]


def test_features_are_means_over_the_map_of_what_is_active():
    model, images = built(small()), oracle.images(small())
    parts = keras.Model(model.input, [model.get_layer(name).output for name in ("norm", "pre_logits")])
    normed, features = parts(images)
    np.testing.assert_allclose(features, np.maximum(normed, 0).mean(axis=(1, 2)), rtol=1e-6, atol=1e-6)
    assert model.get_layer("norm").epsilon == 1e-5
    arrays = oracle.values(model)
    logits = np.asarray(features) @ arrays["head/kernel"] + arrays["head/bias"]
    np.testing.assert_allclose(model(images), logits, **oracle.TOLERANCE)


def test_patches_are_cut_from_the_feature_map():
    model, images = built(hybrid()), oracle.images(hybrid())
    parts = keras.Model(model.input, [model.get_layer(name).output for name in ("stage_1_unit_0", "patches")])
    feature_map, patches = (np.asarray(output) for output in parts(images))
    assert feature_map.shape == (2, 2, 4, 256)
    np.testing.assert_array_equal(patches[:, 1], feature_map[:, :2, 2:].reshape(2, -1))


@every_family
def test_head_and_last_norms_of_post_activation_units_start_at_zero(a):
    arrays = oracle.values(build(a.replace(head_bias=-10.0)))
    assert not np.any(arrays["head/kernel"])
    np.testing.assert_array_equal(arrays["head/bias"], np.full(3, -10.0))
    last = {path for path in arrays if path.startswith("stage") and path.endswith("norm_2/gamma")}
    zero = {path for path, array in arrays.items() if path.endswith("gamma") and not np.any(array)}
    assert zero == (set() if isinstance(a, BitArchitecture) else last)


def test_root_pool_padding_reaches_the_root():
    for padding in ("zeros", "lowest"):
        assert build(small(root_pool_padding=padding)).get_layer("root").pool_padding == padding


@pytest.mark.parametrize("a, kind", [(small(), BitResNet), (hybrid(), VisionTransformer)], ids=["bit", "hybrid"])
def test_model_carries_what_prediction_needs(a, kind, tmp_path):
    model, images = randomised(a, class_names=["a", "b", "c"], dtype="mixed_bfloat16")
    model.get_layer("stage_0_unit_1").trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is kind and again.get_config() == model.get_config()
    assert (again.architecture, again.class_names) == (a, ["a", "b", "c"])
    assert len(again.trainable_weights) == len(model.trainable_weights) < len(model.weights)
    np.testing.assert_array_equal(again(images), model(images))


def test_variant_builds_the_family_it_names():
    for variant, kind, name in (("BiT-R26x1", BitResNet, "bit_resnet"), ("R+Ti/16", VisionTransformer, None)):
        model = build(variant, image_size=32, num_classes=2)
        assert type(model) is kind and model.name == (name or "vision_transformer")
        assert model.architecture == parse(variant, image_size=32, num_classes=2)


def test_class_names_and_overrides_of_another_model_are_refused():
    with pytest.raises(ValueError, match="1 class names for a head of 3 classes"):
        build(small(), class_names=["a"])
    with pytest.raises(ValueError, match="A BiT architecture has no field heads"):
        build(small(), heads=3)


@pytest.mark.parametrize(
    "a, dtype",
    [(small(), "mixed_float16"), (hybrid(), "mixed_bfloat16")],
    ids=["bit-float16", "hybrid-bfloat16"],
)
def test_mixed_precision_computes_in_half_precision_but_for_moments_and_head(a, dtype):
    model, images = randomised(a, dtype=dtype)
    half = dtype.removeprefix("mixed_")
    dtypes = {layer.name: layer.output.dtype for layer in model.layers}
    assert (dtypes.pop("images"), dtypes.pop("head")) == ("float32", "float32")
    assert set(dtypes.values()) == {half}
    assert {weight.dtype for weight in oracle.weights(model).values()} == {"float32"}
    operations = oracle.operations(model, 1, *a.image_shape)
    moments = {"Rsqrt", "Sqrt", "Mean"}
    assert {op.outputs[0].dtype for op in operations if op.type in moments} == {tf.float32}
    assert {op.outputs[0].dtype.name for op in operations if op.type == "Conv2D"} == {half}
    np.testing.assert_allclose(model(images), built(a)(images), rtol=0.1, atol=0.25)  # of the same random weights


def test_kernels_are_standardised_once_for_a_batch():
    """One square root for each kernel, of as many values as it has filters, whatever the batch."""
    model = built(small())
    kernels = [
        weight for path, weight in oracle.weights(model).items() if path.endswith("kernel") and "head" not in path
    ]
    roots = [op for op in oracle.operations(model, 8, *small().image_shape) if op.type == "Sqrt"]
    assert sorted(math.prod(op.outputs[0].shape) for op in roots) == sorted(kernel.shape[-1] for kernel in kernels)


def gradients_of(model, images):
    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(images, training=True)))
        return [loss, *tape.gradient(loss, [weight.value for weight in model.trainable_weights])]

    return step


def assert_xla_agrees(model, images):
    step = gradients_of(model, images)
    plain, compiled = tf.function(step)(images), tf.function(step, jit_compile=True)(images)
    largest = max(np.abs(gradient).max() for gradient in plain)
    for eager, xla in zip(plain, compiled, strict=True):
        assert np.all(np.isfinite(xla))
        # Attention's key biases have no true gradient, only rounding.
        np.testing.assert_allclose(xla, eager, rtol=0, atol=1e-3 * np.abs(eager).max() + 1e-6 * largest)


@pytest.mark.slow
@pytest.mark.parametrize("a", [small(units=(1,)), hybrid(stem=(1,), depth=1)], ids=["bit", "hybrid"])
def test_xla_compiles_the_model_and_its_gradient(a):
    assert_xla_agrees(*randomised(a))


NARROW = {"image_size": 64, "root_width": 32, "num_classes": 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant, fields",
    [
        ("BiT-R26x1", NARROW),
        ("BiT-R101x1", NARROW),
        ("R+Ti/16", {"image_size": 64, "num_classes": 3}),
        ("R50+B/16", {**NARROW, "width": 48, "heads": 4, "mlp_width": 96, "depth": 12}),
    ],
)
def test_xla_compiles_the_smallest_and_deep_narrow_members(variant, fields):
    assert_xla_agrees(*randomised(parse(variant, **fields)))


@every_family
def test_recomputation_reaches_every_unit_and_block(a):
    model = build(a)
    recompute(model)
    flags = {layer.name: layer.recompute for layer in model.layers if hasattr(layer, "recompute")}
    assert all(flags.values())
    units = [name for name in flags if name.startswith("stage")]
    assert len(units) == (sum(a.units) if isinstance(a, BitArchitecture) else sum(a.stem))
    recompute(model, False)
    assert not any(layer.recompute for layer in model.layers if hasattr(layer, "recompute"))


def test_recomputation_of_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match="Expected a model with TransformerBlock or ResidualUnit layers; 'plain'"):
        recompute(keras.Sequential([keras.layers.Dense(1)], name="plain"))


def test_fit_trains_a_bit():
    a = small(units=(1,))
    images, labels = oracle.images(a, batch=6), np.arange(6) % 3
    model = build(a)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, jit_compile=False)
    history = model.fit(images, labels, batch_size=6, epochs=15, verbose=0).history["loss"]
    assert history[0] == pytest.approx(math.log(3), abs=1e-3)
    assert history[-1] < 0.5 * history[0]
