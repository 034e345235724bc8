"""The masked model: the supervised one's own layers, corrupted where the paper says."""

import functools

import keras
import numpy as np
import oracle
import pytest
import reference
import tensorflow as tf

import keras_vit
from keras_vit.layers import corruption as corruption_room
from keras_vit.masking import masked_model
from keras_vit.objectives.masked_patches import TARGETS, MaskedPatches
from keras_vit.vit import recompute

TINY = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12, "num_classes": 3}
IDS = np.array([4, 7])

VARIATIONS = {
    "the paper's": {},
    "no class token": {"pool": "gap", "position": "sincos2d"},
    "positions before every block": {"position_site": "blocks"},
    "shared positions": {"position_site": "shared", "position": "learned_2d"},
    "relative positions": {"position": "relative"},
    "norm after pooling": {"pool": "gap", "norm_site": "pooled", "class_token": True},
    "attention pooling of grey images": {"pool": "map", "channels": 1},
    "features alone": {"num_classes": 0, "representation": 5},
}
every_variation = pytest.mark.parametrize("name", VARIATIONS)


def made(dtype=None, **fields):
    model = keras_vit.build(keras_vit.Architecture(**TINY | fields), dtype=dtype)
    oracle.randomise(model)
    return model


@functools.cache
def variation(name):
    """A model and its masked one, for tests that change nothing but the head and the mask."""
    model = made(**VARIATIONS[name])
    return model, masked_model(model)


def inputs(model):
    return {"images": oracle.images(model.architecture), "ids": IDS}


def corrupting(monkeypatch, masked, replaced):
    monkeypatch.setattr(corruption_room, "MASKED", masked)
    monkeypatch.setattr(corruption_room, "REPLACED", replaced)


@every_variation
def test_uncorrupted_the_patch_tokens_are_those_of_the_supervised_model(name, monkeypatch):
    corrupting(monkeypatch, 0.0, 0.0)
    model, masked = variation(name)
    head = oracle.randomise(masked.get_layer("masked_head"))
    encoded = oracle.forward(model.architecture, oracle.values(model), inputs(model)["images"])["norm"]
    expected = reference.dense(encoded[:, int(model.architecture.class_token) :], head["kernel"], head["bias"])
    outputs = masked(inputs(model))
    np.testing.assert_allclose(outputs["predictions"], expected, **oracle.TOLERANCE)
    assert outputs["predictions"].shape == (2, 6, 8**model.architecture.channels)
    assert (np.asarray(outputs["corrupted"]).sum(axis=1) == 3).all()


@every_variation
def test_corruption_comes_between_projection_and_positions(name, monkeypatch):
    corrupting(monkeypatch, 1.0, 0.0)
    model, masked = variation(name)
    mask = oracle.randomise(masked.get_layer("corruption"))["mask_embedding"]
    parts = keras.Model(masked.input, [masked.get_layer("assembly").output, masked.output["corrupted"]])
    tokens, corrupted = map(np.asarray, parts(inputs(model)))

    a, arrays = model.architecture, oracle.values(model)
    outputs = oracle.forward(a, arrays, inputs(model)["images"])
    embedded, first = outputs["patch_encoder"], int(a.class_token)
    kernel, bias = (arrays[f"patch_encoder/projection/{part}"] for part in ("kernel", "bias"))
    projected = reference.dense(outputs["patches"], kernel, bias)
    expected = embedded[:, first:] + np.where(corrupted[..., None], mask - projected, 0.0)
    np.testing.assert_allclose(tokens[:, first:], expected, **oracle.TOLERANCE)
    np.testing.assert_allclose(tokens[:, :first], embedded[:, :first], **oracle.TOLERANCE)


@every_variation
def test_encoder_is_shared_and_nothing_else_is(name):
    model, masked = variation(name)
    supervised_weights, masked_weights = oracle.weights(model), oracle.weights(masked)
    assert {path for path in masked_weights if path not in supervised_weights} == {
        "corruption/mask_embedding",
        "masked_head/kernel",
        "masked_head/bias",
    }
    unused = {path for path in supervised_weights if path not in masked_weights}
    assert {path.split("/")[0] for path in unused} <= {"pool", "pre_logits", "head"}
    assert all(masked_weights[path] is supervised_weights[path] for path in supervised_weights.keys() - unused)
    assert len(masked.weights) == len(masked_weights)


def test_training_it_trains_the_supervised_model_which_is_saved_as_ever(tmp_path):
    model = made()
    before = oracle.values(model)
    masked = masked_model(model)
    optimizer = keras.optimizers.SGD(0.1)
    batch = inputs(model) | {"weights": np.ones(2, "float32")}
    oracle.randomise(masked.get_layer("masked_head"))
    step(masked, MaskedPatches(), optimizer, batch)
    after = oracle.values(model)
    same = {path for path in after if np.array_equal(after[path], before[path])}
    # A key bias shifts all logits of a query alike, which the softmax does not see.
    assert {path for path in same if not path.endswith("key/bias")} == {"head/kernel", "head/bias"}

    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert oracle.values(again).keys() == before.keys()
    np.testing.assert_array_equal(again(inputs(model)["images"]), model(inputs(model)["images"]))
    assert again.architecture == model.architecture


def step(masked, objective, optimizer, batch):
    """One update; returns the loss before it."""
    with tf.GradientTape() as tape:
        losses, _ = objective(masked, batch, training=True)
        loss = tf.reduce_mean(losses)
    variables = masked.trainable_variables
    optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
    return float(loss)


def test_hybrids_are_masked_where_their_feature_map_has_become_patches(monkeypatch):
    corrupting(monkeypatch, 0.0, 0.0)
    model = made(stem=(1,), image_size=16, patch_size=8)
    masked = masked_model(model, "pixels")
    head = oracle.randomise(masked.get_layer("masked_head"))
    encoded = keras.Model(model.input, model.get_layer("norm").output)(inputs(model)["images"])[:, 1:]
    expected = reference.dense(encoded, head["kernel"], head["bias"])
    predictions = masked(inputs(model))["predictions"]
    np.testing.assert_allclose(predictions, expected, **oracle.TOLERANCE)
    assert predictions.shape == (2, 4, 8 * 8 * 3)
    assert {path for path in oracle.weights(model) if path not in oracle.weights(masked)} == {
        "head/kernel",
        "head/bias",
    }


@pytest.mark.parametrize("target", TARGETS)
def test_a_model_may_be_masked_more_than_once(target):
    model = made()
    one, other = masked_model(model), masked_model(model, target)
    assert one(inputs(model))["predictions"].shape == (2, 6, 512)
    units = {"mean_color": 512, "downsized_colors": 16 * 512, "pixels": 4 * 4 * 3}
    assert other(inputs(model))["predictions"].shape == (2, 6, units[target])


def test_precision_is_the_supervised_model_s(monkeypatch):
    corrupting(monkeypatch, 0.0, 0.0)
    model = made("mixed_bfloat16")
    masked = masked_model(model)
    assert masked.dtype_policy.name == "mixed_bfloat16"
    assert masked(inputs(model))["predictions"].dtype == "float32"
    tokens = keras.Model(masked.input, masked.get_layer("assembly").output)(inputs(model))
    expected = keras.Model(model.input, model.get_layer("patch_encoder").output)(inputs(model)["images"])
    assert tokens.dtype == "bfloat16"
    np.testing.assert_array_equal(tokens, expected)
    assert masked.get_layer("encoder").output.dtype == "bfloat16"


def test_blocks_are_recomputed_where_those_of_the_supervised_model_are():
    model = made(dropout=0.2)
    masked = masked_model(model)
    batch = inputs(model) | {"weights": np.ones(2, "float32")}
    oracle.randomise(masked.get_layer("masked_head"))
    losses = []
    for enabled in (False, True):
        recompute(model, enabled)
        seeds = [variable for variable in masked.non_trainable_variables if "seed_generator" in variable.path]
        for number, state in enumerate(seeds):
            state.assign([number, 1])
        losses.append(step(masked, MaskedPatches(), keras.optimizers.SGD(0.0), batch))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def not_transformers():
    images = keras.Input((8, 12, 3), name="images")
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(images), name="cnn")


BAD = [
    (lambda: masked_model(made(), "mean"), ["'mean'", *TARGETS]),
    (lambda: masked_model(made(channels=2)), ["1 or 3 channels", "2"]),
    (lambda: masked_model(not_transformers()), ["'cnn'", "patch_encoder"]),
    (lambda: masked_model(made(patch_size=8, image_size=8)), ["2 patches", "1"]),
]


@pytest.mark.parametrize("make, fragments", BAD, ids=[" ".join(fragments[:1]) for _, fragments in BAD])
def test_bad_use_is_one_value_error_that_names_the_values(make, fragments):
    with pytest.raises(ValueError) as error:
        make()
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []
