"""The whole model: against the reference, against the formulas, as a Keras model."""

import functools
import itertools
import math

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import oracle
import pytest
import reference
import tensorflow as tf

from keras_vit import VARIANTS, Architecture, VisionTransformer, build, count_params, flops, layers, parse
from keras_vit.variants import CHOICES, SIZES

ADDITIVE = ("learned_1d", "learned_2d", "sincos1d", "sincos2d")
SITES = [(position, "stem") for position in CHOICES["position"]]
SITES += [(position, site) for position in ADDITIVE for site in ("blocks", "shared")]


def small(**fields):
    """An architecture of a few thousand weights, its image not square."""
    sizes = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12}
    return Architecture(**{**sizes, "num_classes": 3, **fields})


def randomised(architecture):
    model = build(architecture)
    return model, oracle.randomise(model)


# Every position at every site, the poolings in turn; at the stem with a class token and without, elsewhere in turn.
KINDS = [
    {"position": position, "position_site": site, "pool": pool, "class_token": class_token, **numbers}
    for i, (position, site) in enumerate(SITES)
    for pool, class_token, numbers in (
        (CHOICES["pool"][i % 3], True, {"gelu": "erf", "epsilon": 0.01}),
        (("gap", "map")[i % 2], False, {}),
    )
    if site == "stem" or class_token == (i % 4 in (0, 3))
]
every_kind = pytest.mark.parametrize("kind", range(len(KINDS)), ids=lambda i: "-".join(map(str, KINDS[i].values())))


@functools.cache
def made(kind):
    """The model of a row of KINDS, its weights by path, and what the reference says it answers."""
    model, arrays = randomised(small(**KINDS[kind]))
    return model, arrays, oracle.forward(model.architecture, arrays, oracle.images(model.architecture))


@every_kind
def test_every_intermediate_is_the_reference(kind):
    model, _, expected = made(kind)
    names = ["patches", "patch_encoder", "block_0", "block_1", "norm", "pool", "pre_logits", "head"]
    intermediates = keras.Model(model.input, {name: model.get_layer(name).output for name in names})
    images = oracle.images(model.architecture)
    actual = intermediates(images)
    for name in names:
        np.testing.assert_allclose(actual[name], expected[name], **oracle.TOLERANCE, err_msg=name)
    np.testing.assert_array_equal(model(images), actual["head"])


@every_kind
def test_parameter_count_is_the_models(kind):
    model, arrays, _ = made(kind)
    assert sum(array.size for array in arrays.values()) == count_params(model.architecture)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == count_params(model.architecture)
    assert model.count_params() == count_params(model.architecture)


AT_THE_STEM = [i for i, kind in enumerate(KINDS) if kind["position_site"] == "stem"]


@pytest.mark.parametrize("kind", [i for i in AT_THE_STEM if KINDS[i]["class_token"]])
def test_flops_are_the_products_in_the_graph(kind):
    model, _, _ = made(kind)
    operations = oracle.operations(model, 1, *model.architecture.image_shape)
    assert 2 * sum(multiplications(operation) for operation in operations) == flops(model.architecture)


def multiplications(operation):
    """Of one matrix product; 0 for any other operation."""
    if operation.type == "Einsum":
        terms = operation.get_attr("equation").decode().split("->")[0].split(",")
        shapes = [tensor.shape.as_list() for tensor in operation.inputs]
        sizes = dict(zip("".join(terms), itertools.chain(*shapes), strict=True))
        return math.prod(sizes.values())
    if operation.type in ("MatMul", "BatchMatMulV2"):
        transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        inner = operation.inputs[0].shape[-2 if transposed else -1]
        return math.prod(operation.outputs[0].shape) * inner
    return 0


@pytest.mark.parametrize("kind", AT_THE_STEM)
def test_composition_used_above_is_the_reference_model(kind):
    model, arrays, expected = made(kind)
    a = model.architecture
    tables = [arrays.get(f"block_{i}/attention/relative_position/table") for i in range(2)]
    outputs = reference.vit(
        oracle.vit_arrays(a, arrays),
        oracle.images(a),
        a.patch_size,
        a.heads,
        a.pool,
        a.gelu,
        a.epsilon,
        position=oracle.stem_position(a, arrays),
        relative=tables if a.position == "relative" else None,
    )
    np.testing.assert_allclose(expected["head"], outputs["logits"], rtol=1e-12)
    np.testing.assert_allclose(expected["norm"], outputs["encoded"], rtol=1e-12)


@st.composite
def architectures(draw):
    """Any valid architecture that is quick to build."""
    patch_size, heads = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    position, site = draw(st.sampled_from(SITES))
    pool = draw(st.sampled_from(CHOICES["pool"]))
    return Architecture(
        image_size=tuple(patch_size * draw(st.integers(1, 4)) for _ in range(2)),
        patch_size=patch_size,
        channels=draw(st.integers(1, 4)),
        width=8 * heads,
        depth=draw(st.integers(1, 3)),
        heads=heads,
        mlp_width=draw(st.integers(1, 16)),
        position=position,
        position_site=site,
        pool=pool,
        class_token=True if pool == "token" else draw(st.booleans()),
        representation=draw(st.none() | st.integers(1, 9)),
        dropout=0.5,
        attention_dropout=0.5,
        stochastic_depth=0.5,
        gelu=draw(st.sampled_from(CHOICES["gelu"])),
        epsilon=draw(st.sampled_from([1e-6, 1e-2])),
        attention_bias=draw(st.booleans()),
        num_classes=draw(st.integers(0, 3)),
    )


def is_the_reference_and_has_the_counted_parameters(architecture):
    model, arrays = randomised(architecture)
    images = oracle.images(architecture)
    expected = oracle.forward(architecture, arrays, images)
    outputs = expected["head" if architecture.num_classes else "pre_logits"]
    np.testing.assert_allclose(model(images), outputs, rtol=1e-4, atol=1e-4)
    assert sum(array.size for array in arrays.values()) == count_params(architecture)


@pytest.mark.parametrize("examples", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_any_architecture(examples):
    once = hypothesis.given(architectures())(is_the_reference_and_has_the_counted_parameters)
    hypothesis.settings(max_examples=examples, database=None, derandomize=True)(once)()


def whole_counts(architectures):
    """Parameter counts of real models; their weights get no values, so that even the largest take no memory."""
    with keras.StatelessScope(initialize_variables=False):
        counts = {name: build(a).count_params() for name, a in architectures.items()}
    keras.utils.clear_session()  # Or the next scope to end would initialise them after all.
    return counts


def test_parameter_count_of_every_size_with_every_part_is_the_models():
    parts = {"depth": 2, "pool": "map", "class_token": True, "representation": 10, "num_classes": 21843}
    sizes = {size: parse(f"{size}/16", **parts) for size in SIZES}
    assert whole_counts(sizes) == {size: count_params(a) for size, a in sizes.items()}


@pytest.mark.slow
def test_parameter_count_of_every_variant_is_the_whole_models():
    assert whole_counts(VARIANTS) == {name: count_params(a) for name, a in VARIANTS.items()}


def test_layers_have_the_fixed_names_in_order():
    names = [layer.name for layer in build(small(depth=3)).layers]
    expected = ["images", "patches", "patch_encoder", "block_0", "block_1", "block_2", "norm", "pool", "pre_logits"]
    assert names == [*expected, "head"]


def test_any_layer_gives_a_model_of_its_own():
    model, _ = randomised(small(representation=5))
    for name in ("patches", "patch_encoder", "block_0", "block_1", "norm", "pool", "pre_logits", "head"):
        part = keras.Model(model.input, model.get_layer(name).output)
        assert part(oracle.images(model.architecture)).shape[0] == 2
        assert part.output.name == model.get_layer(name).output.name


def test_without_classes_the_model_returns_features():
    model = build(small(num_classes=0))
    assert model.output_shape == (None, 8)
    assert "head" not in [layer.name for layer in model.layers]


def test_pre_logits_is_the_heads_input_even_without_a_representation():
    model, arrays = randomised(small())
    features = keras.Model(model.input, model.get_layer("pre_logits").output)(oracle.images(model.architecture))
    logits = np.asarray(features) @ arrays["head/kernel"] + arrays["head/bias"]
    np.testing.assert_allclose(model(oracle.images(model.architecture)), logits, **oracle.TOLERANCE)


def test_variant_and_its_architecture_build_the_same():
    by_name, by_value = build("mu/16", num_classes=5), build(parse("mu/16"), num_classes=5)
    assert by_name.architecture == by_value.architecture
    assert by_name.count_params() == by_value.count_params()


# Starting values.


def test_head_starts_at_zero_with_its_bias():
    model = build(small(head_bias=-10.0))
    np.testing.assert_array_equal(oracle.values(model)["head/kernel"], np.zeros((8, 3)))
    np.testing.assert_array_equal(oracle.values(model)["head/bias"], np.full(3, -10.0))


def test_representation_starts_as_lecun_normal():
    arrays = oracle.values(build(small(width=768, heads=1, representation=768)))
    assert np.std(arrays["pre_logits/kernel"]) == pytest.approx(768**-0.5, rel=0.01)
    assert not np.any(arrays["pre_logits/bias"])


def test_norms_start_as_identities():
    model = build(small(pool="map"))
    arrays = oracle.values(model)
    gammas = [array for path, array in arrays.items() if path.endswith("gamma")]
    betas = [array for path, array in arrays.items() if path.endswith("beta")]
    assert len(gammas) == len(betas) == 2 * 2 + 1 + 1
    assert all(np.all(gamma == 1) for gamma in gammas) and not any(np.any(beta) for beta in betas)


@pytest.mark.parametrize("classes, loss", [(1000, 6.9078), (21843, 9.9916)])
def test_softmax_training_starts_at_the_log_of_the_classes(classes, loss):
    model = build(small(num_classes=classes))
    logits = model(oracle.images(model.architecture))
    losses = keras.losses.sparse_categorical_crossentropy(np.array([0, 7]), logits, from_logits=True)
    np.testing.assert_allclose(losses, [loss, loss], atol=1e-4)


@pytest.mark.parametrize("classes, bias, loss", [(21843, -10.0, 10.99), (1000, -6.9, 7.91)])
def test_sigmoid_training_starts_at_a_small_loss(classes, bias, loss):
    model = build(small(num_classes=classes, head_bias=bias))
    logits = model(oracle.images(model.architecture))
    losses = tf.nn.sigmoid_cross_entropy_with_logits(np.eye(2, classes, dtype="float32"), logits)
    np.testing.assert_allclose(np.sum(losses, axis=-1), [loss, loss], atol=0.01)


def test_blocks_start_different_and_a_seed_repeats_them():
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(build(small(pool="map")))
    first, again, other = (oracle.values(model).values() for model in models)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    arrays = oracle.values(models[0])
    assert not np.array_equal(*(arrays[f"block_{i}/attention/query/kernel"] for i in range(2)))


# Dropout and stochastic depth.


def dropping(layer, path=""):
    """Paths of the dropout layers that draw masks -> their rates."""
    if isinstance(layer, keras.layers.Dropout):
        return {path: layer.rate} if layer.rate else {}
    rates = {}
    for part in layer._layers:
        rates |= dropping(part, f"{path}/{part.name}".strip("/"))
    return rates


def test_dropout_sites_are_those_of_the_papers_code():
    rates = dropping(build(small(dropout=0.1, pool="map", representation=5)))
    blocks = [f"block_{i}/{site}" for i in range(2) for site in ("dropout", "mlp/dropout_0", "mlp/dropout_1")]
    assert rates == dict.fromkeys(["patch_encoder/dropout", *blocks], 0.1)


def test_attention_dropout_is_on_the_probabilities_alone():
    rates = dropping(build(small(attention_dropout=0.2, pool="map")))
    assert rates == dict.fromkeys(["block_0/attention/dropout", "block_1/attention/dropout"], 0.2)


def test_no_rate_means_no_random_state():
    assert dropping(build(small())) == {}
    assert not [variable.path for variable in build(small()).variables if "seed" in variable.path]


def test_stochastic_depth_grows_linearly_over_the_blocks():
    # AugReg's rule (arXiv 2106.10270), linear over the blocks from 0: here twelve, and a last rate of 0.1.
    model = build(small(depth=12, stochastic_depth=0.1))
    rates = [model.get_layer(f"block_{i}").stochastic_depth for i in range(12)]
    np.testing.assert_allclose(rates, [0.1 * i / 11 for i in range(12)])
    np.testing.assert_allclose([rates[1], rates[2], rates[10]], [0.00909, 0.01818, 0.09091], atol=5e-6)
    drawn = {path: rate for path, rate in dropping(model).items() if "stochastic_depth" in path}
    assert len(drawn) == 2 * 11
    assert drawn["block_11/stochastic_depth_0"] == drawn["block_11/stochastic_depth_1"] == pytest.approx(0.1)


def test_stochastic_depth_leaves_a_single_block_alone():
    assert dropping(build(small(depth=1, stochastic_depth=0.5))) == {}


def test_dropout_changes_training_only():
    model, _ = randomised(small(dropout=0.5))
    images = oracle.images(model.architecture)
    np.testing.assert_array_equal(model(images), model(images, training=False))
    assert not np.allclose(model(images, training=True), model(images))
    assert not np.allclose(model(images, training=True), model(images, training=True))


def test_a_seed_repeats_the_dropout_masks():
    answers = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        model, _ = randomised(small(dropout=0.5, attention_dropout=0.5, stochastic_depth=0.5))
        answers.append(np.asarray(model(oracle.images(model.architecture), training=True)))
    np.testing.assert_array_equal(*answers)


# Precision.


def by_argument(policy):
    return build(small(representation=5, pool="map"), dtype="mixed_bfloat16")


def by_global_policy(policy):
    policy("mixed_bfloat16")
    return build(small(representation=5, pool="map"))


@pytest.mark.parametrize("mixed", [by_argument, by_global_policy])
def test_mixed_precision_computes_in_bfloat16_but_for_the_head(mixed, policy):
    model = mixed(policy)
    dtypes = {layer.name: layer.output.dtype for layer in model.layers}
    assert dtypes.pop("head") == "float32"
    assert dtypes.pop("images") == "float32"
    assert set(dtypes.values()) == {"bfloat16"}
    assert {weight.dtype for weight in oracle.weights(model).values()} == {"float32"}
    assert model.dtype_policy.name == "mixed_bfloat16"


def test_dtype_argument_beats_the_global_policy(policy):
    policy("mixed_bfloat16")
    model = build(small(), dtype="float32")
    assert {layer.output.dtype for layer in model.layers} == {"float32"}
    layers = [layer for layer in model._flatten_layers() if not isinstance(layer, keras.layers.InputLayer)]
    assert {layer.compute_dtype for layer in layers} == {"float32"}


def test_head_is_computed_in_float32():
    model = build(small(), dtype="mixed_bfloat16")
    arrays, images = oracle.randomise(model), oracle.images(model.architecture)
    features = keras.Model(model.input, model.get_layer("pre_logits").output)(images)
    logits = np.asarray(tf.cast(features, "float64")) @ arrays["head/kernel"] + arrays["head/bias"]
    np.testing.assert_allclose(model(images), logits, rtol=1e-6, atol=1e-6)


def test_mixed_precision_stays_close_to_float32():
    full, _ = randomised(small(pool="map"))
    mixed = build(small(pool="map"), dtype="mixed_bfloat16")
    mixed.set_weights(full.get_weights())
    images = oracle.images(small())
    np.testing.assert_allclose(mixed(images), full(images), atol=0.1)
    assert not np.array_equal(mixed(images), full(images))


def test_every_sensitive_operation_is_float32_under_mixed_precision():
    model = build(small(pool="map", position="relative"), dtype="mixed_bfloat16")
    sensitive = {"Softmax", "Rsqrt", "SquaredDifference"}
    operations = [op for op in oracle.operations(model, 1, 8, 12, 3) if op.type in sensitive]
    assert {op.get_attr("T") for op in operations} == {tf.float32}
    assert sum(op.type == "Softmax" for op in operations) == 2 + 1
    assert sum(op.type == "Rsqrt" for op in operations) == 2 * 2 + 1 + 1


# As a Keras model.


def test_fit_trains_a_compiled_model():
    images, labels = oracle.images(small(), batch=6), np.arange(6) % 3
    model = build(small(depth=1, dropout=0.01), class_names=["a", "b", "c"])
    before = oracle.values(model).values()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    history = model.fit(images, labels, batch_size=3, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == 2
    assert history.history["loss"] == [pytest.approx(math.log(3), abs=0.2)]
    after = oracle.values(model).values()
    assert all(not np.array_equal(b, a) for b, a in zip(before, after, strict=True))
    model.fit(images, labels, batch_size=3, epochs=30, verbose=0)
    np.testing.assert_array_equal(np.argmax(model(images), axis=-1), labels)


def with_every_position():
    """Every kind of position in one small model, which therefore compiles once."""
    images = keras.Input((8, 12, 3))
    patches = layers.Patches(4)(images)
    encoded = [layers.PatchEncoder(8, position=kind, grid=(2, 3))(patches) for kind in ADDITIVE]
    tokens = layers.TransformerBlock(2, 12, position="relative")(keras.layers.Add()(encoded))
    return keras.Model(images, keras.layers.Dense(3)(layers.AttentionPooling(2, 12)(tokens)))


def test_xla_compiles_every_kind_of_position_and_its_gradient():
    model = with_every_position()
    oracle.randomise(model)
    images = oracle.images(small())

    def loss_and_gradients(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(images)))
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    loss, gradients = loss_and_gradients(images)
    compiled_loss, compiled_gradients = tf.function(loss_and_gradients, jit_compile=True)(images)
    np.testing.assert_allclose(compiled_loss, loss, rtol=1e-4)
    for weight, gradient, compiled in zip(model.trainable_weights, gradients, compiled_gradients, strict=True):
        np.testing.assert_allclose(compiled, gradient, rtol=1e-3, atol=1e-4, err_msg=weight.path)


def test_clone_takes_the_same_weights():
    # A plain functional model: Keras 3.15 asks no custom class for its config here. `from_config` keeps the class.
    model, _ = randomised(small(dropout=0.1, pool="map", position="learned_2d", position_site="shared"))
    clone = keras.models.clone_model(model)
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]
    assert not np.array_equal(oracle.values(clone)["head/kernel"], oracle.values(model)["head/kernel"])
    clone.set_weights(model.get_weights())
    images = oracle.images(model.architecture)
    np.testing.assert_array_equal(clone(images), model(images))


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_config_rebuilds_the_model(dtype):
    a = small(position="sincos2d", pool="map", representation=5, dropout=0.1, head_bias=-1.0)
    model = build(a, class_names=["a", "b", "c"], dtype=dtype, name="mine")
    model.trainable = False
    again = VisionTransformer.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert (again.architecture, again.class_names, again.name) == (a, ["a", "b", "c"], "mine")
    assert again.dtype_policy.name == (dtype or "float32")
    assert again.trainable_weights == []


def test_one_block_can_be_frozen():
    model = build(small())
    model.get_layer("block_0").trainable = False
    assert not [w.path for w in model.trainable_weights if w.path.startswith("block_0")]
    assert [w.path for w in model.trainable_weights if w.path.startswith("block_1")]


def test_class_names_are_copied_not_shared():
    names = ["a", "b", "c"]
    model = build(small(), class_names=names)
    names.append("d")
    assert model.class_names == ["a", "b", "c"]


def test_batch_may_have_any_size():
    model, _ = randomised(small(pool="map"))
    images = oracle.images(model.architecture, batch=5)
    one_by_one = np.concatenate([model(images[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(model(images), one_by_one, **oracle.TOLERANCE)
    assert model(images[:0]).shape == (0, 3)


BAD = [
    (lambda: build("Z/16"), ["'Z/16'", "B", "B/16"]),
    (lambda: build(None), ["None", "B/16"]),
    (lambda: build("mu/16", hidden=3), ["hidden", "width"]),
    (lambda: build(small(), hidden=3), ["hidden", "width"]),
    (lambda: build("mu/16", image_size=50), ["50x50", "16", "48x48"]),
    (lambda: build(small(), heads=3), ["8", "3 heads"]),
    (lambda: build(small(), class_token=False), ["pool='token'", "class_token=False"]),
    (lambda: build(small(), class_names=["a"]), ["1 class names", "3 classes"]),
    (lambda: build(small(num_classes=0), class_names=["a"]), ["1 class names", "0 classes"]),
    (lambda: build(small(), dtype="bfloat17"), ["bfloat17"]),
]


@pytest.mark.parametrize("make, fragments", BAD, ids=[" ".join(fragments) for _, fragments in BAD])
def test_bad_argument_is_one_value_error_that_names_it(make, fragments):
    with pytest.raises(ValueError) as error:
        make()
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []


@pytest.mark.parametrize(
    ("fields", "fragments"),
    [({"size": (100, 100)}, ["(100, 100)", "(8, 12)"]), ({"mean": (0.5, 0.5), "std": (1, 1)}, ["2 channels", "3"])],
)
def test_preprocessing_of_another_model_is_refused(fields, fragments):
    from keras_vit import Preprocessing

    sizes = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 12}
    with pytest.raises(ValueError) as error:
        build("B/16", **sizes, preprocessing=Preprocessing(**{"size": (8, 12), **fields}))
    assert all(fragment in str(error.value) for fragment in fragments)
