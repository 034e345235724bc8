import keras
import numpy as np
import oracle
import pytest
import reference
import tensorflow as tf

from keras_vit.layers import TransformerBlock

MASK = np.array([[True, True, False, True, False, True, True], [True] * 6 + [False]])


def made(batch=2, **arguments):
    block, tokens = TransformerBlock(2, 12, **arguments), oracle.normal(batch, 7, 8)
    block(tokens)
    return block, tokens, oracle.randomise(block)


@pytest.mark.parametrize("gelu, epsilon", [("tanh", 1e-6), ("erf", 0.1)])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"attention_bias": False}, {"position": "relative"}, {"position": "relative", "prefix_tokens": 0}],
    ids=str,
)
def test_block_is_equations_2_and_3(gelu, epsilon, arguments):
    block, tokens, arrays = made(gelu=gelu, epsilon=epsilon, **arguments)
    relative = arrays.get("attention/relative_position/table")
    class_token = bool(arguments.get("prefix_tokens", 1))
    for mask in (None, MASK):
        outputs, weights = reference.block(tokens, oracle.official(arrays), gelu, epsilon, mask, relative, class_token)
        explicit_outputs, explicit_weights = block(tokens, mask=mask, return_weights=True)
        np.testing.assert_allclose(block(tokens, mask=mask), outputs, **oracle.TOLERANCE)
        np.testing.assert_allclose(explicit_outputs, outputs, **oracle.TOLERANCE)
        np.testing.assert_allclose(explicit_weights, weights, **oracle.TOLERANCE)


def test_symbolic_shapes_with_weights_are_the_eager_ones():
    block, tokens, _ = made()
    symbolic = block(keras.Input((7, 8)), return_weights=True)
    eager = block(tokens, return_weights=True)
    assert [tensor.shape[1:] for tensor in symbolic] == [tuple(tensor.shape[1:]) for tensor in eager]


def test_number_of_tokens_may_be_unknown_until_the_graph_runs():
    block, tokens, _ = made()
    inputs = keras.Input((None, 8))
    model = keras.Model(inputs, block(inputs))
    signature = tf.TensorSpec((None, None, 8), "float32")
    np.testing.assert_allclose(tf.function(model, [signature])(tokens), block(tokens), **oracle.TOLERANCE)


def test_mask_of_the_inputs_is_used_and_passed_on():
    block, tokens, _ = made()
    tokens = np.where(MASK[..., None], tokens, 0.0).astype("float32")
    masked = keras.layers.Masking()(tokens)
    outputs = block(masked)
    np.testing.assert_array_equal(outputs._keras_mask, MASK)
    np.testing.assert_array_equal(outputs, block(tokens, mask=MASK))


def test_mask_of_the_inputs_causes_no_warning(recwarn):
    block, _, _ = made()
    block(keras.layers.Masking()(np.zeros((2, 7, 8), "float32")))
    assert [str(warning.message) for warning in recwarn if issubclass(warning.category, UserWarning)] == []


def ratios_of(block, tokens):
    """(outputs - inputs) in training over the same in inference: what became of a lone branch."""
    branch = np.asarray(block(tokens)) - tokens
    return (np.asarray(block(tokens, training=True)) - tokens) / branch


def silence(block, branch):
    """Makes one branch of the block answer zero."""
    last = "attention/out/" if branch == "attention" else "mlp/dense_1/"
    for path, weight in oracle.weights(block).items():
        if path.startswith(last):
            weight.assign(np.zeros(weight.shape))


def test_dropout_falls_on_the_projected_attention_and_scales_survivors():
    block, tokens, _ = made(batch=60, dropout=0.25)
    silence(block, "mlp")
    ratios = ratios_of(block, tokens)
    assert np.all(np.isclose(ratios, 0, atol=1e-3) | np.isclose(ratios, 1 / 0.75, rtol=1e-2))
    assert np.mean(np.isclose(ratios, 0, atol=1e-3)) == pytest.approx(0.25, abs=0.03)


def test_dropout_falls_twice_inside_the_mlp():
    block, tokens, _ = made(batch=60, dropout=0.25)
    silence(block, "attention")
    ratios = ratios_of(block, tokens)
    # The second mask zeroes outputs; the first mixes into them.
    assert np.mean(np.isclose(ratios, 0, atol=1e-3)) == pytest.approx(0.25, abs=0.03)
    assert not np.any(np.isclose(ratios, 1 / 0.75, rtol=1e-6))


def test_dropout_leaves_the_attention_probabilities_alone():
    block, tokens, _ = made(dropout=0.5)
    np.testing.assert_array_equal(block.attention(tokens, training=True), block.attention(tokens))


def test_attention_dropout_falls_on_nothing_else():
    block, tokens, _ = made(attention_dropout=0.5)
    silence(block, "attention")
    np.testing.assert_array_equal(block(tokens, training=True), block(tokens))


@pytest.mark.parametrize("branch, other", [("attention", "mlp"), ("mlp", "attention")])
def test_stochastic_depth_drops_a_branch_for_whole_examples_and_scales_survivors(branch, other):
    block, tokens, _ = made(batch=400, stochastic_depth=0.25)
    silence(block, other)
    ratios = ratios_of(block, tokens)
    per_example = np.median(ratios, axis=(1, 2))
    # Where a branch answers almost nothing the quotient is all rounding: compare the answers themselves.
    branch_only = np.asarray(block(tokens)) - tokens
    np.testing.assert_allclose(ratios * branch_only, per_example[:, None, None] * branch_only, atol=1e-4)
    assert np.all(np.isclose(per_example, 0, atol=1e-3) | np.isclose(per_example, 1 / 0.75, rtol=1e-3))
    assert np.mean(per_example < 0.5) == pytest.approx(0.25, abs=0.05)
    assert np.mean(per_example) == pytest.approx(1, abs=0.07)


def test_stochastic_depth_draws_each_branch_separately():
    block, _, _ = made(stochastic_depth=0.5)
    tokens = np.repeat(oracle.normal(1, 7, 8), 400, axis=0)
    outputs = np.round(np.asarray(block(tokens, training=True)), 3)
    _, counts = np.unique(outputs.reshape(400, -1), axis=0, return_counts=True)
    assert len(counts) == 4 and counts.min() > 60


def test_norms_compute_in_float32_under_mixed_precision():
    # Steps of 4 around 1000, the finest that bfloat16 tells apart there: its mean and variance would not be these.
    signs = np.where(np.arange(64) % 2, 1.0, -1.0)
    tokens = (1000 + 4 * signs)[None, None]
    block = TransformerBlock(2, 12, dtype="mixed_bfloat16")
    block.build((None, 1, 64))
    for norm in (block.norm_0, block.norm_1):
        np.testing.assert_array_equal(tf.cast(norm(tokens), "float32")[0, 0], signs)


def test_every_sensitive_operation_is_float32_under_mixed_precision():
    block = TransformerBlock(2, 12, dtype="mixed_bfloat16")
    block.build((None, 7, 8))
    sensitive = {"Softmax", "Rsqrt", "SquaredDifference", "Mean"}
    types = {op.type: op.get_attr("T") for op in oracle.operations(block, 1, 7, 8) if op.type in sensitive}
    assert {"Softmax", "Rsqrt"} <= set(types)
    assert set(types.values()) == {tf.float32}


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ValueError, match=r"width 8 .* 3 heads"):
        TransformerBlock(3, 12)(oracle.normal(1, 2, 8))
