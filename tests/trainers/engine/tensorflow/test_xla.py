"""The gradients of each model family under XLA, as a TPU needs them: compiled, of static shapes, equal to uncompiled.

No TPU is at hand; XLA's CPU compiler takes the same graph. In the fast lane one small model with everything and one
with dropout in half precision; in the slow one each kind of each part and precision, and of each family the smallest
member and a deep narrow one.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vit import build, parse
from keras_vit.layers.corruption import Corruption
from keras_vit.masking import masked_model
from keras_vit.objectives.classification import OBJECTIVES
from keras_vit.objectives.masked_patches import MaskedPatches
from keras_vit.variants import CHOICES
from trainers.engine.protocols import UpdateRule
from trainers.engine.tensorflow.steps import Steps

SMALLEST = {"image_size": 32}
DEEP = {"image_size": 32, "depth": 24, "width": 32, "heads": 2, "mlp_width": 64}
# The ResNets of every family, as narrow as group normalisation allows.
HYBRID = {"image_size": 32, "patch_size": 16, "stem": (1, 1), "root_width": 32}
DROPPING = {"depth": 2, "dropout": 0.1, "attention_dropout": 0.1, "stochastic_depth": 0.1}
EVERYTHING = HYBRID | {"patch_size": 8, "depth": 1, "position": "relative", "pool": "map", "representation": 16}
BIT = {"variant": "BiT-R26x1", "image_size": 32, "root_width": 32}
# Relative to each array's largest entry; half precision is rounded elsewhere in compiled code.
TOLERANCES = {"float32": 1e-5, "mixed_float16": 2e-2, "mixed_bfloat16": 1e-1}
# Standardisation divides by what may be small.
RESNETS = 1e-4
CLASSES, BATCH, SCALE = 5, 4, tf.constant(1.0)


def made(precision="float32", variant="mu/16", **fields):
    keras.utils.set_random_seed(0)
    return stirred(build(parse(variant, num_classes=CLASSES, **fields), dtype=precision))


def stirred(model):
    """Behind a head, a class token or norms of zeros, as new ones are, some gradients are zero."""
    for weight in model.trainable_variables:
        weight.assign_add(keras.random.normal(weight.shape, stddev=0.1))
    return model


def batch_of(model):
    images = model.input["images"] if isinstance(model.input, dict) else model.input
    return {
        "images": tf.random.stateless_uniform((BATCH, *images.shape[1:]), (1, 2), -1, 1),
        "labels": tf.constant([0, 1, 2, 3]),
        "weights": tf.constant([1.0, 1.0, 1.0, 0.0]),
        "ids": tf.range(BATCH, dtype=tf.int64),
    }


def gradient_function(model, batch, xla, objective="softmax"):
    """The engine's own, of a batch and a loss scale."""
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    spec = {name: tf.TensorSpec(rows.shape, rows.dtype) for name, rows in batch.items()}
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    made = MaskedPatches() if objective == "masked_patches" else OBJECTIVES[objective](CLASSES)
    steps = Steps(strategy, model, made, optimizer, spec, UpdateRule(batch_size=BATCH, xla=xla))
    return steps._compiled_gradients


def gradients_by_path(model, batch, **arguments):
    gradients, sums = gradient_function(model, batch, **arguments)(batch, SCALE)
    paths = [variable.path for variable in model.trainable_variables]
    return dict(zip(paths, [np.asarray(gradient) for gradient in gradients], strict=True)), sums


def assert_finite(gradients, sums):
    assert np.isfinite(float(sums["loss"][0]))
    for path, gradient in gradients.items():
        assert gradient.dtype == np.float32, path
        assert np.all(np.isfinite(gradient)), path
        assert path.endswith("key/bias") or np.any(gradient), path


def assert_compiles_exactly(model, tolerance, objective="softmax"):
    batch = batch_of(model)
    compiled, sums = gradients_by_path(model, batch, xla=True, objective=objective)
    expected, expected_sums = gradients_by_path(model, batch, xla=False, objective=objective)
    assert_finite(compiled, sums)
    np.testing.assert_allclose(sums["loss"][0], expected_sums["loss"][0], rtol=tolerance)
    for path, gradient in expected.items():
        if not path.endswith("key/bias"):  # no true gradient, only rounding
            error = np.abs(compiled[path] - gradient).max()
            assert error <= tolerance * np.abs(gradient).max(), path


# Every kind of position, pooling and objective at least once.
KINDS = [
    (position, [*CHOICES["pool"]][number % len(CHOICES["pool"])], [*OBJECTIVES][number % len(OBJECTIVES)])
    for number, position in enumerate(CHOICES["position"])
]


def test_kinds_are_all_there():
    assert {position for position, _, _ in KINDS} == set(CHOICES["position"])
    assert {pool for _, pool, _ in KINDS} == set(CHOICES["pool"])
    assert {objective for _, _, objective in KINDS} == set(OBJECTIVES)


def test_everything_in_float32():
    assert_compiles_exactly(made(**EVERYTHING), RESNETS)


@pytest.mark.slow
@pytest.mark.parametrize("position, pool, objective", KINDS)
def test_smallest_vit(position, pool, objective):
    assert_compiles_exactly(made(**SMALLEST, position=position, pool=pool), TOLERANCES["float32"], objective)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_smallest_vit_in_half_precision(precision):
    """Without a ResNet, in which half precision is too coarse to compare."""
    model = made(precision, **SMALLEST, position="relative", pool="map")
    assert_compiles_exactly(model, TOLERANCES[precision])


@pytest.mark.slow
def test_deep_narrow_vit():
    # Depth adds up rounding: uncompiled, a graph and eager execution already differ by 3e-6.
    assert_compiles_exactly(made(**DEEP), 2 * TOLERANCES["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("fields", [HYBRID | {"patch_size": 8}, BIT | {"units": (1, 1)}], ids=["hybrid", "bit"])
def test_smallest_hybrid_and_resnet(fields):
    assert_compiles_exactly(made(**fields), RESNETS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [HYBRID | DEEP | {"stem": (6, 6, 6)}, BIT | {"units": (6, 6, 6)}],
    ids=["hybrid", "bit"],
)
def test_deep_narrow_hybrid_and_resnet(fields):
    assert_compiles_exactly(made(**fields), 5 * RESNETS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        SMALLEST | {"patch_size": 8},
        HYBRID | {"patch_size": 8},
        DEEP | {"patch_size": 8},
    ],
    ids=["vit", "hybrid", "deep vit"],
)
def test_masked_patch_prediction(fields, monkeypatch):
    """Corrupted as outside training, because compiled random numbers are others than uncompiled ones."""
    noise = Corruption._noise
    monkeypatch.setattr(Corruption, "_noise", lambda layer, rows, ids, training: noise(layer, rows, ids, False))
    keras.utils.set_random_seed(0)
    model = stirred(masked_model(build(parse("mu/16", num_classes=0, **fields))))
    assert_compiles_exactly(model, RESNETS if "stem" in fields else 2 * TOLERANCES["float32"], "masked_patches")


def assert_compiles_with_masks(model, objective):
    """Compiled masks are others than uncompiled ones, but for a random state always the same; of static shapes."""
    batch = batch_of(model)
    function = gradient_function(model, batch, xla=True, objective=objective)
    states = [variable for variable in model.non_trainable_variables if "seed_generator" in variable.path]
    answers = []
    for place in (1, 1, 2):
        for site, state in enumerate(states):
            state.assign([site, place])
        gradients, sums = function(batch, SCALE)
        answers.append(dict(zip([v.path for v in model.trainable_variables], map(np.asarray, gradients), strict=True)))
        assert_finite(answers[-1], sums)
    first, again, other = (answer["head/kernel"] for answer in answers)
    np.testing.assert_array_equal(again, first)
    assert not np.allclose(other, first)
    assert bounded_dimensions(function, batch, SCALE) == 0


@pytest.mark.parametrize(
    "precision, objective, fields",
    [
        ("mixed_bfloat16", "softmax", SMALLEST | DROPPING | {"position": "relative", "pool": "map"}),
        pytest.param("mixed_float16", "sigmoid", SMALLEST | DROPPING, marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", "softmax", DEEP | {"attention_dropout": 0.1}, marks=pytest.mark.slow),
    ],
    ids=["smallest", "smallest in float16", "deep in bfloat16"],
)
def test_vit_with_dropout(precision, objective, fields):
    assert_compiles_with_masks(made(precision, **fields), objective)


def bounded_dimensions(function, *arguments):
    """How often a dimension has no more than an upper bound, as in f32[<=4]."""
    return function.experimental_get_compiler_ir(*arguments)(stage="hlo").count("[<=")


def test_a_dynamic_shape_would_be_noticed():
    dynamic = tf.function(lambda rows: tf.boolean_mask(rows, rows > 0), jit_compile=True)
    assert bounded_dimensions(dynamic, tf.constant([1.0, -1.0])) > 0
