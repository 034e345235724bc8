import keras
import numpy as np
import oracle
import pytest
import reference
import tensorflow as tf

from keras_vit import positions
from keras_vit.layers import position
from keras_vit.variants import CHOICES

GRIDS = [(3, 3), (2, 5), (4, 1)]
ADDITIVE = [kind for kind, row in positions.POSITIONS.items() if row.acts == "tokens"]


def test_kinds_are_those_an_architecture_may_name():
    assert tuple(position.POSITIONS) == tuple(positions.POSITIONS) == CHOICES["position"]


@pytest.mark.parametrize("prefix", [(), ("class_token",), positions.PREFIX], ids=len)
@pytest.mark.parametrize("kind", position.POSITIONS)
def test_rows_know_the_variables_of_the_layers(kind, prefix):
    sequence, row = positions.Sequence((2, 3), prefix, 8, 4), positions.POSITIONS[kind]
    expected = [(variable.name, variable.shape) for variable in row.variables(sequence)]
    layer = None if position.POSITIONS[kind] is None else position.POSITIONS[kind](len(prefix), (2, 3))
    if layer is not None:
        shape = (2, sequence.tokens, 2, 4) if row.acts == "attention" else (2, sequence.tokens, 8)
        layer.build(*[shape] * (1 + (row.acts == "attention")))
    assert [(weight.name, weight.shape) for weight in (layer.weights if layer else [])] == expected


def test_layers_of_older_files_know_their_tokens():
    assert position.Learned2D.from_config({"class_token": True, "distillation_token": True}).prefix_tokens == 2
    assert position.RelativePosition.from_config({"class_token": False}).prefix_tokens == 0


@pytest.mark.parametrize("kind", ADDITIVE)
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("class_token", [True, False])
def test_additive_kind_adds_the_reference_table(kind, grid, class_token):
    layer = position.added_position(kind, prefix_tokens=int(class_token), grid=grid)
    tokens = oracle.normal(2, grid[0] * grid[1] + class_token, 8)
    layer(tokens)
    table = oracle.position_table(kind, oracle.randomise(layer), grid, 8, class_token)
    np.testing.assert_allclose(layer(tokens), tokens + table, **oracle.TOLERANCE)


@pytest.mark.parametrize("patches", [1, 4, 7])
@pytest.mark.parametrize("class_token", [True, False])
def test_relative_kind_gives_the_reference_logits(patches, class_token):
    layer = position.attention_position("relative", prefix_tokens=int(class_token))
    queries = oracle.normal(2, patches + class_token, 3, 4)
    layer(queries, queries)
    table = oracle.randomise(layer)["table"]
    expected = reference.relative_logits(queries, table, class_token)
    *unchanged, bias = layer(queries, 2 * queries)
    np.testing.assert_allclose(bias, expected, **oracle.TOLERANCE)
    np.testing.assert_array_equal(unchanged, [queries, 2 * queries])


@pytest.mark.parametrize("prefix_tokens", [0, 1, 2])
def test_relative_index_uses_every_table_entry(prefix_tokens):
    index = position.relative_index(5, prefix_tokens)
    assert set(index.ravel()) == set(range(2 * 5 - 1 + 2 * prefix_tokens))


def test_tokens_before_the_patches_have_entries_of_their_own():
    np.testing.assert_array_equal(
        position.relative_index(2, 2), [[1, 5, 4, 4], [3, 1, 6, 6], [3, 5, 1, 0], [3, 5, 2, 1]]
    )


@pytest.mark.parametrize("kind", [kind for kind in position.POSITIONS if kind not in ADDITIVE])
def test_other_kinds_add_nothing(kind):
    assert position.added_position(kind, prefix_tokens=1, grid=(2, 2)) is None


@pytest.mark.parametrize("kind", [kind for kind in position.POSITIONS if kind != "relative"])
def test_only_relative_acts_in_attention(kind):
    assert position.attention_position(kind, prefix_tokens=1) is None


def test_sincos_2d_has_big_visions_values():
    np.testing.assert_allclose(position.sincos_2d((2, 2), 8)[1], [0.841471, 1e-4, 0.540302, 1, 0, 0, 1, 1], atol=1e-6)
    table = position.sincos_2d((14, 14), 384).astype("float64")
    assert table.sum() == pytest.approx(34742.763, abs=0.01)
    assert np.square(table).sum() == pytest.approx(37632.0, abs=0.01)
    np.testing.assert_allclose(table[15, :3], [0.84147098, 0.7880288, 0.73369134], atol=1e-6)
    np.testing.assert_allclose(table[195, -3:], [0.99999875, 0.99999897, 0.99999916], atol=1e-6)


def test_sincos_1d_has_the_reference_values():
    np.testing.assert_allclose(position.sincos_1d(50, 16), reference.sincos1d(50, 16), atol=1e-6)


@pytest.mark.parametrize("kind", ["sincos1d", "sincos2d"])
def test_fixed_kinds_have_no_weights_and_leave_the_class_token(kind):
    layer = position.added_position(kind, prefix_tokens=1, grid=(2, 2))
    tokens = oracle.normal(2, 5, 8)
    np.testing.assert_array_equal(np.asarray(layer(tokens))[:, 0], tokens[:, 0])
    assert layer.weights == []


@pytest.mark.parametrize("kind", ["learned_1d", "learned_2d", "relative"])
def test_learned_tables_start_normal_with_deviation_002(kind):
    layer = position.POSITIONS[kind](grid=(14, 14))
    layer.build((None, 197, 2, 64) if kind == "relative" else (None, 197, 768))
    for path, weight in oracle.weights(layer).items():
        assert np.std(weight) == pytest.approx(0.02, rel=0.1), path
        assert np.mean(weight) == pytest.approx(0.0, abs=0.002), path


def test_tables_of_one_layer_start_different():
    layer = position.Learned2D(grid=(14, 14))
    layer.build((None, 197, 768))
    assert not np.array_equal(layer.rows, layer.columns)


@pytest.mark.parametrize("kind", ADDITIVE)
def test_fixed_tables_are_rounded_only_once_in_bfloat16(kind):
    layer = position.added_position(kind, prefix_tokens=0, grid=(14, 14), dtype="mixed_bfloat16")
    tokens = np.zeros((1, 196, 16), "float32")
    layer(tokens)
    table = oracle.position_table(kind, oracle.randomise(layer), (14, 14), 16, False)
    np.testing.assert_array_equal(layer(tokens)[0], tf.cast(tf.constant(table, "float32"), "bfloat16"))


def test_positions_travel_under_a_mask():
    masked = keras.layers.Masking()(np.array([[[1.0, 1.0], [0.0, 0.0]]], "float32"))
    assert position.Learned1D(prefix_tokens=0)(masked)._keras_mask is not None


BAD = [
    (lambda: position.added_position("3d", prefix_tokens=1, grid=None), ["'3d'", *position.POSITIONS]),
    (lambda: position.attention_position(None, prefix_tokens=1), ["None", *position.POSITIONS]),
    (lambda: position.Learned2D()(oracle.normal(1, 4, 8)), ["3 patches", "1x1", "grid"]),
    (lambda: position.Learned2D(grid=(2, 2))(oracle.normal(1, 7, 8)), ["6 patches", "2x2", "grid"]),
    (lambda: position.sincos_2d((2, 2), 6), ["sincos2d", "4", "6"]),
    (lambda: position.sincos_1d(2, 5), ["sincos1d", "2", "5"]),
]


@pytest.mark.parametrize("make, fragments", BAD, ids=[" ".join(fragments) for _, fragments in BAD])
def test_bad_use_is_one_value_error_that_names_the_values(make, fragments):
    with pytest.raises(ValueError) as error:
        make()
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []
