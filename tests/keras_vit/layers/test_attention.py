import keras
import numpy as np
import oracle
import pytest
import reference
import tensorflow as tf

from keras_vit.layers import Attention

MASK = np.array([[True, True, False, True, False, True, True], [True] * 6 + [False]])


def made(tokens=7, width=8, **arguments):
    layer = Attention(**{"heads": 2, **arguments})
    inputs = oracle.normal(2, tokens, width)
    layer(inputs)
    return layer, inputs, oracle.randomise(layer)


def expected(inputs, arrays, mask=None, class_token=False):
    table = arrays.get("relative_position/table")
    return reference.attention(inputs, inputs, arrays, mask, table, class_token)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "position, class_token", [("none", True), ("learned_1d", True), ("relative", True), ("relative", False)]
)
def test_both_paths_are_the_reference(bias, position, class_token):
    layer, inputs, arrays = made(use_bias=bias, position=position, prefix_tokens=int(class_token))
    for mask in (None, MASK):
        outputs, weights = expected(inputs, arrays, mask, class_token)
        explicit_outputs, explicit_weights = layer(inputs, mask=mask, return_weights=True)
        np.testing.assert_allclose(layer(inputs, mask=mask), outputs, **oracle.TOLERANCE)
        np.testing.assert_allclose(explicit_outputs, outputs, **oracle.TOLERANCE)
        np.testing.assert_allclose(explicit_weights, weights, **oracle.TOLERANCE)


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_any_number_of_heads_that_divides_the_width(heads):
    layer, inputs, arrays = made(heads=heads)
    np.testing.assert_allclose(layer(inputs), expected(inputs, arrays)[0], **oracle.TOLERANCE)


@pytest.mark.parametrize("bias, names", [(True, {"kernel", "bias"}), (False, {"kernel"})])
def test_weights_have_the_layout_of_the_checkpoints(bias, names):
    _, _, arrays = made(use_bias=bias)
    assert set(arrays) == {f"{part}/{name}" for part in ("query", "key", "value", "out") for name in names}
    assert arrays["query/kernel"].shape == arrays["key/kernel"].shape == arrays["value/kernel"].shape == (8, 2, 4)
    assert arrays["out/kernel"].shape == (2, 4, 8)


@pytest.mark.parametrize("return_weights", [True, False])
def test_keys_may_be_other_tokens_than_queries(return_weights):
    queries, keys, mask = oracle.normal(2, 3, 8), oracle.normal(2, 7, 8, seed=5), MASK
    layer = Attention(2)
    layer(queries, keys)
    outputs, weights = reference.attention(queries, keys, oracle.randomise(layer), mask)
    actual = layer(queries, keys, mask=mask, return_weights=return_weights)
    np.testing.assert_allclose(actual[0] if return_weights else actual, outputs, **oracle.TOLERANCE)
    if return_weights:
        np.testing.assert_allclose(actual[1], weights, **oracle.TOLERANCE)


@pytest.mark.parametrize("return_weights", [True, False])
def test_masked_keys_do_not_matter(return_weights):
    layer, inputs, _ = made()
    changed = np.where(MASK[..., None], inputs, 100.0)

    def answer(tokens):
        outputs = layer(tokens, mask=MASK, return_weights=return_weights)
        return np.asarray(outputs[0] if return_weights else outputs)[MASK]

    np.testing.assert_array_equal(answer(inputs), answer(changed))


def test_paths_agree_where_every_key_is_masked():
    layer, inputs, _ = made()
    mask = np.zeros((2, 7), bool)
    explicit, weights = layer(inputs, mask=mask, return_weights=True)
    assert np.all(np.isfinite(explicit))
    np.testing.assert_allclose(weights, np.full((2, 2, 7, 7), 1 / 7), rtol=1e-6)
    np.testing.assert_allclose(layer(inputs, mask=mask), explicit, **oracle.TOLERANCE)


@pytest.mark.parametrize("keys_shape", [None, (None, 5, 8)])
def test_symbolic_shapes_are_the_eager_ones(keys_shape):
    queries, keys = keras.Input((7, 8)), keys_shape and keras.Input(keys_shape[1:])
    outputs, weights = Attention(2)(queries, keys, return_weights=True)
    eager = Attention(2)(np.zeros((3, 7, 8)), keys_shape and np.zeros((3, *keys_shape[1:])), return_weights=True)
    assert [outputs.shape[1:], weights.shape[1:]] == [tuple(tensor.shape[1:]) for tensor in eager]
    assert [outputs.dtype, weights.dtype] == [tensor.dtype.name for tensor in eager]


def identity(tokens, width, **arguments):
    """One head whose values and outputs are its inputs, so that one-hot inputs show the probabilities used."""
    layer = Attention(1, use_bias=False, **arguments)
    layer.build((None, tokens, width))
    oracle.assign(layer, value_kernel=np.eye(width)[:, None], out_kernel=np.eye(width)[None])
    return layer


def test_dropout_acts_on_probabilities_and_scales_survivors():
    layer = identity(16, 16, dropout=0.25)
    inputs = np.repeat(np.eye(16, dtype="float32")[None], 30, axis=0)
    ratios = np.asarray(layer(inputs, training=True)) / np.asarray(layer(inputs))
    assert np.all(np.isclose(ratios, 0) | np.isclose(ratios, 1 / 0.75))
    assert np.mean(ratios == 0) == pytest.approx(0.25, abs=0.02)


def test_returned_weights_are_those_before_dropout():
    layer, inputs, _ = made(dropout=0.5)
    outputs, weights = layer(inputs, return_weights=True, training=True)
    np.testing.assert_allclose(np.sum(weights, axis=-1), np.ones((2, 2, 7)), rtol=1e-6)
    assert not np.array_equal(outputs, layer(inputs))


def test_nothing_is_dropped_without_a_rate():
    layer, inputs, _ = made()
    np.testing.assert_array_equal(layer(inputs, training=True), layer(inputs))


# As Flax initialises the paper's code: sqrt(6 / (2 D)), Glorot's limit of the flattened (D, A K) matrix.
LIMITS = [("Ti", 192, 3, 0.125), ("S", 384, 6, 0.08839), ("B", 768, 12, 0.0625), ("L", 1024, 16, 0.05413)]
LIMITS += [("H", 1280, 16, 0.04841)]


@pytest.mark.parametrize("size, width, heads, limit", LIMITS)
def test_kernels_start_as_glorot_uniform_of_the_flattened_matrix(size, width, heads, limit):
    layer = Attention(heads)
    layer.build((None, 1, width))
    arrays = oracle.values(layer)
    for part in ("query", "key", "value", "out"):
        assert np.abs(arrays[f"{part}/kernel"]).max() == pytest.approx(limit, rel=2e-3)
        assert np.std(arrays[f"{part}/kernel"]) == pytest.approx(limit / 3**0.5, rel=0.02)
        assert not np.any(arrays[f"{part}/bias"])


def test_projections_start_different():
    layer = Attention(2)
    layer.build((None, 1, 8))
    kernels = {array.tobytes() for path, array in oracle.values(layer).items() if path.endswith("kernel")}
    assert len(kernels) == 4


def weights_path(layer):
    return lambda inputs: layer(inputs, return_weights=True)[0]


PATHS = pytest.mark.parametrize("path", [lambda layer: layer, weights_path], ids=["fast", "explicit"])


@PATHS
@pytest.mark.parametrize("policy_name", ["mixed_bfloat16", "mixed_float16"])
def test_softmax_is_float32_under_mixed_precision(path, policy_name):
    layer = Attention(2, dtype=policy_name)
    layer.build((None, 7, 8))
    softmaxes = [op for op in oracle.operations(path(layer), 1, 7, 8) if op.type == "Softmax"]
    assert [op.get_attr("T") for op in softmaxes] == [tf.float32]


@PATHS
def test_a_thousand_equal_logits_average_in_bfloat16(path):
    oracle.needs_exact_sums()
    layer = identity(1025, 4, dtype="mixed_bfloat16")
    oracle.assign(layer, query_kernel=np.zeros((4, 1, 4)))
    inputs = 1 + 0.25 * oracle.normal(1, 1025, 4)
    outputs = np.asarray(tf.cast(path(layer)(inputs), "float32"))
    np.testing.assert_allclose(outputs, np.broadcast_to(inputs.mean(axis=1), outputs.shape), rtol=2**-8)


@PATHS
def test_relative_bias_is_added_to_large_logits_in_float32(path):
    # Every content logit is 256 and the bias to the other token 1: bfloat16, whose step is 2 there, would lose it.
    layer = identity(2, 4, position="relative", prefix_tokens=0, dtype="mixed_bfloat16")
    oracle.assign(
        layer,
        query_kernel=np.tile([32.0, 8.0, 0.0, 0.0], (4, 1))[:, None],
        key_kernel=np.tile([16.0, 0.0, 0.0, 0.0], (4, 1))[:, None],
        relative_position_table=[[0, 0.25, 0, 0], [0, 0, 0, 0], [0, 0.25, 0, 0]],
    )
    outputs = np.asarray(tf.cast(path(layer)(np.eye(2, 4)[None]), "float32"))[0, :, :2]
    np.testing.assert_allclose(outputs, [[0.26894, 0.73106], [0.73106, 0.26894]], rtol=2**-8)


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ValueError, match=r"width 8 .* 3 heads"):
        Attention(3)(oracle.normal(1, 2, 8))


def test_unknown_position_is_named_with_the_choices():
    with pytest.raises(ValueError, match=r"'rotary'.*learned_1d.*relative"):
        Attention(2, position="rotary")
