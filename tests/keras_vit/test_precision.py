"""Under mixed precision products are in half precision, but sums over many numbers, softmax and loss in float32."""

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from keras_vit import Architecture, build
from keras_vit.layers import Attention, GlobalAveragePooling, TransformerBlock
from keras_vit.objectives.classification import OBJECTIVES
from keras_vit.vit import recompute

HALVES = {"mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}
# Operations of softmax, normalisation, averages and loss, forward and backward.
SENSITIVE = {"Softmax", "LogSoftmax", "Rsqrt", "RsqrtGrad", "SquaredDifference", "Mean", "Exp", "Log1p", "OneHot"}
every_half = pytest.mark.parametrize("precision", HALVES)


def made(precision, **fields):
    sizes = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 12}
    model = build(Architecture(**{**sizes, "num_classes": 3, **fields}), dtype=precision)
    oracle.randomise(model)
    return model


def training_step(model, objective, factor=1.0):
    """A function to losses, metric sums and gradients; the images, being constants, are not among the operations."""
    batch = {"images": oracle.images(model.architecture), "labels": np.array([0, 2]), "weights": np.ones(2, "float32")}
    batch = {name: tf.constant(rows) for name, rows in batch.items()}
    batch["images"] *= factor

    def step():
        with tf.GradientTape() as tape:
            losses, sums = OBJECTIVES[objective](3)(model, batch, training=True)
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
        return losses, sums, [tf.convert_to_tensor(gradient) for gradient in gradients]

    return step


# Attention's two paths, activations kept and recomputed, and both objectives: each meets each of the others.
STEPS = [
    pytest.param("mixed_bfloat16", 0.0, False, "softmax", marks=pytest.mark.slow),
    ("mixed_bfloat16", 0.1, True, "sigmoid"),
    ("mixed_float16", 0.1, False, "softmax"),
    pytest.param("mixed_float16", 0.0, True, "sigmoid", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("precision, attention_dropout, recomputed, objective", STEPS)
def test_sensitive_operations_of_a_training_step_are_float32(precision, attention_dropout, recomputed, objective):
    model = made(precision, position="relative", pool="map", attention_dropout=attention_dropout)
    recompute(model, recomputed)
    graph = tf.function(training_step(model, objective)).get_concrete_function().graph
    operations = graph.get_operations()
    wrong = [op.name for op in operations if op.type in SENSITIVE and op.outputs[0].dtype != tf.float32]
    assert wrong == []
    # A block, which runs twice where recomputed, and the pooling.
    softmaxes = [op for op in operations if op.type == "Softmax" and "attention" in op.name]
    assert len(softmaxes) == (1 + recomputed) + 1
    products = {op.outputs[0].dtype for op in operations if op.type in ("MatMul", "Einsum", "BatchMatMulV2")}
    assert products == {HALVES[precision], tf.float32}  # float32 in the head only


@every_half
def test_weights_gradients_losses_and_metrics_are_float32(precision):
    model = made(precision, pool="map", representation=5, dropout=0.1)
    assert {weight.dtype for weight in oracle.weights(model).values()} == {"float32"}
    assert model(oracle.images(model.architecture)).dtype == tf.float32
    for objective in OBJECTIVES:
        losses, sums, gradients = training_step(model, objective)()
        assert {gradient.dtype for gradient in gradients} == {tf.float32}
        assert {part.dtype for pair in sums.values() for part in pair} == {losses.dtype} == {tf.float32}


@every_half
def test_losses_beyond_half_precision_are_finite(precision):
    # float16 ends at 65504, and bfloat16 knows these logits to a few hundred.
    model = made(precision)
    oracle.assign(model, head_kernel=np.zeros((8, 3)), head_bias=[70001.0, 0.0, -70003.0])
    expected = {"softmax": [0.0, 140004.0], "sigmoid": [np.log(2), 140004.0 + np.log(2)]}
    assert expected.keys() == OBJECTIVES.keys()
    for objective, losses in expected.items():
        np.testing.assert_allclose(training_step(model, objective)()[0], losses, rtol=1e-7, err_msg=objective)


@every_half
def test_norms_square_in_float32(precision):
    # 1000 squared is beyond float16.
    signs = np.where(np.arange(64) % 2, 1.0, -1.0)
    block = TransformerBlock(2, 12, dtype=precision)
    block.build((None, 1, 64))
    for norm in (block.norm_0, block.norm_1, keras.layers.LayerNormalization(dtype=precision)):
        np.testing.assert_array_equal(tf.cast(norm(1000 * signs[None, None]), "float32")[0, 0], signs)


@every_half
@pytest.mark.parametrize("mask", [None, np.ones((1, 1025), bool)], ids=["no mask", "mask"])
def test_averages_add_up_in_float32(precision, mask):
    # The sum is beyond float16, and past 256 a sum of ones stands still in bfloat16.
    tokens = np.full((1, 1025, 2), [100.0, 1.0])
    pooled = GlobalAveragePooling(dtype=precision)(tokens, mask=mask)
    assert pooled.dtype == HALVES[precision]
    np.testing.assert_array_equal(tf.cast(pooled, "float32"), [[100.0, 1.0]])


@every_half
@pytest.mark.parametrize("return_weights", [False, True], ids=["fast", "explicit"])
def test_attention_probabilities_add_up_in_float32(precision, return_weights):
    # Of 1025 equal logits each probability is 1/1025; added up in half precision they would not make 1.
    if precision == "mixed_bfloat16" and not return_weights:
        oracle.needs_exact_sums()
    layer = Attention(1, dtype=precision)
    layer.build((None, 1025, 4))
    square = np.eye(4)
    oracle.assign(layer, query_kernel=np.zeros((4, 1, 4)), value_kernel=square[:, None], out_kernel=square[None])
    outputs = layer(np.ones((1, 1025, 4)), return_weights=return_weights)
    outputs = tf.cast(outputs[0] if return_weights else outputs, "float32")
    np.testing.assert_allclose(outputs, np.ones(outputs.shape), rtol=2**-8)
