import keras
import numpy as np
import oracle
import pytest
import reference
import tensorflow as tf

from keras_vit.layers import AttentionPooling, ClassTokenPooling, GlobalAveragePooling
from keras_vit.layers.pooling import POOLINGS, pooling
from keras_vit.variants import CHOICES, Architecture

TOKENS = oracle.normal(2, 7, 8)
MASK = np.array([[True, True, False, True, False, True, True], [True] * 6 + [False]])


def test_kinds_are_those_an_architecture_may_name():
    assert tuple(POOLINGS) == CHOICES["pool"]


@pytest.mark.parametrize(
    "pool, layer", [("token", ClassTokenPooling), ("gap", GlobalAveragePooling), ("map", AttentionPooling)]
)
def test_architecture_names_its_pooling(pool, layer):
    made = pooling(architecture(pool=pool), name="pool")
    assert type(made) is layer and made.name == "pool"


def architecture(**fields):
    return Architecture(**{"width": 8, "depth": 1, "heads": 2, "mlp_width": 12, **fields})


@pytest.mark.parametrize("class_token", [True, False])
def test_average_skips_the_class_token_an_architecture_has(class_token):
    made = pooling(architecture(pool="gap", class_token=class_token))
    np.testing.assert_allclose(made(TOKENS), reference.gap(TOKENS, class_token), **oracle.TOLERANCE)


def test_attention_pooling_takes_its_sizes_from_the_architecture():
    made = pooling(architecture(pool="map", gelu="erf", epsilon=0.25))
    assert (made.heads, made.mlp_width, made.gelu, made.epsilon) == (2, 12, "erf", 0.25)


def test_class_token_pooling_is_token_0():
    np.testing.assert_array_equal(ClassTokenPooling()(TOKENS), TOKENS[:, 0])


@pytest.mark.parametrize("class_token", [True, False])
def test_average_is_over_patches(class_token):
    actual = GlobalAveragePooling(int(class_token))(TOKENS)
    np.testing.assert_allclose(actual, reference.gap(TOKENS, class_token), **oracle.TOLERANCE)


@pytest.mark.parametrize("class_token", [True, False])
def test_average_leaves_masked_patches_out(class_token):
    first = int(class_token)
    expected = [tokens[first:][mask[first:]].mean(axis=0) for tokens, mask in zip(TOKENS, MASK, strict=True)]
    np.testing.assert_allclose(GlobalAveragePooling(int(class_token))(TOKENS, mask=MASK), expected, **oracle.TOLERANCE)


def test_average_of_no_patches_is_zero_not_nan():
    np.testing.assert_array_equal(GlobalAveragePooling()(TOKENS, mask=np.zeros((2, 7), bool)), np.zeros((2, 8)))


def attention_pooling(**arguments):
    layer = AttentionPooling(2, 12, **arguments)
    layer(TOKENS)
    return layer, oracle.randomise(layer)


def official(arrays):
    """Inside the head its one norm has a number."""
    renamed = {path.replace("norm/", "norm_0/"): array for path, array in arrays.items()}
    return oracle.official(renamed)


@pytest.mark.parametrize("gelu", ["tanh", "erf"])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_attention_pooling_is_big_visions(gelu, epsilon):
    layer, arrays = attention_pooling(gelu=gelu, epsilon=epsilon)
    expected = reference.map_pool(TOKENS, official(arrays), gelu, epsilon)
    np.testing.assert_allclose(layer(TOKENS), expected, **oracle.TOLERANCE)


def test_attention_pooling_does_not_attend_to_masked_tokens():
    layer, arrays = attention_pooling()
    expected = [
        reference.map_pool(tokens[mask][None], official(arrays))[0] for tokens, mask in zip(TOKENS, MASK, strict=True)
    ]
    np.testing.assert_allclose(layer(TOKENS, mask=MASK), expected, **oracle.TOLERANCE)


def test_attention_pooling_does_not_see_the_order_of_tokens():
    layer, _ = attention_pooling()
    np.testing.assert_allclose(layer(TOKENS[:, ::-1]), layer(TOKENS), **oracle.TOLERANCE)


@pytest.mark.parametrize("layer", [ClassTokenPooling(), GlobalAveragePooling(), AttentionPooling(2, 12)])
def test_no_mask_is_left_after_pooling(layer):
    masked = keras.layers.Masking()(np.where(MASK[..., None], TOKENS, 0.0).astype("float32"))
    assert getattr(layer(masked), "_keras_mask", None) is None


@pytest.mark.parametrize("make", [GlobalAveragePooling, lambda: AttentionPooling(2, 12)], ids=["average", "attention"])
def test_mask_of_the_inputs_is_used(make):
    layer, tokens = make(), np.where(MASK[..., None], TOKENS, 0.0).astype("float32")
    np.testing.assert_array_equal(layer(keras.layers.Masking()(tokens)), layer(tokens, mask=MASK))


# As big_vision initialises it: sqrt(6 / (1 + D)), Glorot's limit of a (1, D) matrix.
@pytest.mark.parametrize("width, limit", [(768, 0.0883), (192, 0.17632), (1024, 0.07651)])
def test_probe_starts_as_glorot_uniform_of_one_row(width, limit):
    layer = AttentionPooling(1, 1)
    layer.build((None, 1, width))
    probe = oracle.values(layer)["probe"]
    assert np.abs(probe).max() <= limit + 1e-4
    assert np.abs(probe).max() == pytest.approx(limit, rel=0.05)
    assert np.std(probe) == pytest.approx(limit / 3**0.5, rel=0.06)


def test_average_of_a_thousand_patches_keeps_its_precision_in_bfloat16():
    tokens = 3 + oracle.normal(1, 1025, 8)
    mean = tf.cast(GlobalAveragePooling(dtype="mixed_bfloat16")(tokens), "float32")
    np.testing.assert_allclose(mean, tokens.mean(axis=1), rtol=2**-8)


def test_masking_nothing_changes_nothing_in_bfloat16():
    tokens = 3 + oracle.normal(1, 1025, 8)
    layer = GlobalAveragePooling(dtype="mixed_bfloat16")
    everything = layer(tokens, mask=np.ones((1, 1025), bool))
    np.testing.assert_array_equal(tf.cast(everything, "float32"), tf.cast(layer(tokens), "float32"))
