"""From --trainable and --layer_decay to multipliers."""

import pytest

import keras_vit
from keras_vit import multipliers
from trainers.finetuning import beginning
from trainers.settings.finetuning import part_of


@pytest.fixture(scope="module")
def model():
    return keras_vit.build("mu/8", image_size=16, depth=3, num_classes=5, pool="map", position_site="blocks")


def of_layers(model, train="all", **options):
    """{layer: its multipliers}."""
    variables = model.trainable_variables
    by_layer: dict[str, set[float]] = {}
    rules = beginning.multipliers(model.architecture, part_of(train), **options)
    for variable, value in zip(variables, multipliers.parse(rules, variables), strict=True):
        by_layer.setdefault(variable.path.split("/")[0], set()).add(value)
    return {name: values.pop() for name, values in by_layer.items() if len(values) == 1}


def test_all_at_one_rate_needs_no_rules(model):
    assert beginning.multipliers(model.architecture) == ""


def test_head(model):
    assert of_layers(model, train="head") == {name: float(name == "head") for name in of_layers(model)}


def test_the_last_blocks_and_what_follows(model):
    trained = {name for name, value in of_layers(model, train="last:1").items() if value}
    assert trained == {"position_2", "block_2", "norm", "pool", "head"}
    assert {name for name, value in of_layers(model, train="last:0").items() if value} == {"norm", "pool", "head"}


def test_rates_fall_towards_the_stem(model):
    by_layer = of_layers(model, layer_decay=0.5)
    assert (by_layer["head"], by_layer["norm"]) == (1, 1)
    assert (by_layer["block_2"], by_layer["block_1"], by_layer["block_0"], by_layer["position_0"]) == (
        0.5,
        0.25,
        0.125,
        0.125,
    )
    assert by_layer["patch_encoder"] == 0.0625
    both = of_layers(model, layer_decay=0.5, train="last:2")
    assert (both["block_1"], both["block_0"], both["patch_encoder"]) == (0.25, 0, 0)


def test_a_regular_expression_trains_the_head_too(model):
    assert (
        beginning.multipliers(model.architecture, part_of("block_0/.*"))
        == "head(_distillation)?/.*=1;block_0/.*=1;.*=0"
    )


def test_more_blocks_than_there_are(model):
    with pytest.raises(ValueError, match="--trainable=last:4 is about Transformer blocks, of which this model has 3"):
        beginning.multipliers(model.architecture, part_of("last:4"))
