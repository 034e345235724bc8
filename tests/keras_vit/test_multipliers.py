"""Learning-rate multipliers by regular expression, and frozen weights."""

import types

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_vit
from keras_vit import multipliers, optimization


def named(*paths):
    return [types.SimpleNamespace(path=path) for path in paths]


RULES = [
    ("", [1, 1, 1]),
    (".*=0.5", [0.5, 0.5, 0.5]),
    ("patch_encoder/.*=0;head/.*=1e1;.*=1", [0, 1, 10]),
    (r"block_\d+/mlp/.*=2; (?!block).*=3", [3, 2, 3]),
    ("(?P<layer>head|patch_encoder)(?=/).*=.25;.*kernel=1", [0.25, 1, 0.25]),
]
PATHS = ("patch_encoder/class_token", "block_0/mlp/dense_0/kernel", "head/kernel")


@pytest.mark.parametrize(("rules", "expected"), RULES)
def test_the_first_rule_that_matches_a_whole_path_counts(rules, expected):
    assert multipliers.parse(rules, named(*PATHS)) == expected


@pytest.mark.parametrize(
    ("rules", "fragments"),
    [
        ("head/.*=1", ["patch_encoder/class_token", ".*=1"]),
        ("head=1;.*=1", ["'head'", "whole path", *PATHS]),
        (".*=1;head/.*=2", ["'head/.*'", "before"]),
        (".*", ["REGEX=NUMBER", "'.*'"]),
        (".*=1;", ["REGEX=NUMBER", "''"]),
        ("=1", ["REGEX=NUMBER", "'=1'"]),
        (".*=slow", ["'.*=slow'", "finite", "'slow'"]),
        (".*=nan", ["finite", "'nan'"]),
        (".*=inf", ["finite", "'inf'"]),
        (".*=-1", ["0 or more", "'-1'"]),
        ("head/[=1;.*=1", ["'head/[=1'", "regular expression", "unterminated"]),
    ],
)
def test_rules_that_do_not_fit_say_so_in_one_line(rules, fragments):
    with pytest.raises(ValueError) as error:
        multipliers.parse(rules, named(*PATHS))
    assert all(fragment in str(error.value) for fragment in fragments), error.value
    assert "\n" not in str(error.value)


WORDS = st.sampled_from(["head", "norm", "block_0", "block_1", "mlp", "kernel", "bias"])
NUMBERS = st.floats(0, 10)


@given(
    paths=st.lists(st.lists(WORDS, min_size=1, max_size=3).map("/".join), min_size=1, max_size=6),
    rules=st.lists(st.tuples(WORDS | WORDS.map(lambda word: f".*{word}.*") | st.just(".*"), NUMBERS), min_size=1),
)
def test_every_weight_gets_one_multiplier_or_there_is_an_error(paths, rules):
    text = ";".join(f"{pattern}={number!r}" for pattern, number in rules)
    weights = named(*paths)
    # By the words themselves, without regular expressions: which rules may count for a path, in order.
    matching = [[i for i, (pattern, _) in enumerate(rules) if matches(pattern, path)] for path in paths]
    if all(matching) and {numbers[0] for numbers in matching} == set(range(len(rules))):
        assert multipliers.parse(text, weights) == [rules[numbers[0]][1] for numbers in matching]
    else:
        with pytest.raises(ValueError, match="weight"):
            multipliers.parse(text, weights)


def matches(pattern, path):
    return pattern.strip(".*") in path if pattern.startswith(".*") else pattern == path


# LAMB has most to keep of each weight.
EVERY_RULE = [
    name if name == "lamb" else pytest.param(name, marks=pytest.mark.slow) for name in optimization.OPTIMIZERS
]


@pytest.mark.parametrize("name", EVERY_RULE)
def test_frozen_weights_stay_and_the_model_survives_saving(name, tmp_path):
    model = keras_vit.build("mu/16", image_size=32, num_classes=3)
    left = multipliers.freeze(model, "patch_encoder/.*=0;.*kernel=0.5;.*=1")
    assert left == [0.5 if variable.path.endswith("kernel") else 1.0 for variable in model.trainable_variables]
    before = {variable.path: variable.numpy() for variable in model.variables}
    optimizer = optimization.optimizer(
        name, model.trainable_variables, learning_rate=0.01, weight_decay=0.1, multipliers=left
    )
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    model.fit(images, np.arange(4) % 3, epochs=3, verbose=0)  # the head is 0 at first, and stops other gradients
    unchanged = {variable.path for variable in model.variables if (variable.numpy() == before[variable.path]).all()}
    assert unchanged == {path for path in before if path.startswith("patch_encoder/")}

    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):  # it begins anew, on every weight
        again = keras.models.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == optimizer.get_config()
    assert [variable.path for variable in again.variables] == [variable.path for variable in model.variables]
    for ours, theirs in zip(again.variables, model.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_model_is_not_frozen_whole():
    model = keras_vit.build("mu/16", image_size=32, num_classes=3)
    with pytest.raises(ValueError, match="freeze every weight"):
        multipliers.freeze(model, ".*=0")
    with pytest.raises(ValueError, match="patch_encoder/class_token"):
        multipliers.freeze(model, "head/.*=0")
    assert len(model.trainable_variables) == len(model.variables)
