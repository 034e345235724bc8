"""DeiT's second token and head: the forward pass in plain numpy, what it costs, and weights that have it."""

import keras
import numpy as np
import oracle
import pytest
import reference
import safetensors.numpy

import keras_vit
from keras_vit import weights
from keras_vit.distilling import student
from keras_vit.masking import masked_model

TINY = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12, "num_classes": 3}
POSITIONS = ("none", "learned_1d", "learned_2d", "sincos1d", "sincos2d")
SITES = [("stem", position) for position in POSITIONS] + [("blocks", "learned_2d"), ("shared", "sincos2d")]


def made(dtype=None, **fields):
    model = keras_vit.build(keras_vit.Architecture(**TINY | {"distillation_token": True} | fields), dtype=dtype)
    oracle.randomise(model)
    return model


def positions(a, arrays, layer):
    """(T, D): those of class token, distillation token and patches."""
    own = reference.subtree(arrays, layer)
    if a.position == "learned_1d":
        return own["table"][0]
    patches = oracle.position_table(a.position, {**own, "class_position": None}, a.grid, a.width, False)
    return np.concatenate([own.get("class_position", np.zeros((2, a.width))), patches])


def expected_logits(a, arrays, images):
    """Of both heads, from the equations."""
    named = oracle.vit_arrays(a, arrays)
    patches = reference.patches(images, a.patch_size)
    embedded = reference.dense(patches, named["embedding/kernel"].reshape(-1, a.width), named["embedding/bias"])
    names = ("cls", "patch_encoder/distillation_token")
    first = [np.repeat(named[name].reshape(1, 1, -1), len(images), axis=0) for name in names]
    tokens = np.concatenate([*first, embedded], axis=1)
    if a.position_site == "stem":
        tokens = tokens + positions(a, arrays, "patch_encoder/position")
    for i in range(a.depth):
        if a.position_site != "stem":
            tokens = tokens + positions(a, arrays, "position" if a.position_site == "shared" else f"position_{i}")
        tokens, _ = reference.block(tokens, reference.subtree(named, f"Transformer/encoderblock_{i}"))
    norm = reference.subtree(named, "Transformer/encoder_norm")
    encoded = reference.layer_norm(tokens, norm["scale"], norm["bias"])
    return [
        reference.dense(encoded[:, index], named[f"{head}/kernel"], named[f"{head}/bias"])
        for index, head in enumerate(("head", "head_distillation"))
    ]


@pytest.mark.parametrize("site, position", SITES)
def test_the_answer_is_the_mean_of_two_heads_on_two_tokens(site, position):
    model = made(position=position, position_site=site)
    a, images = model.architecture, oracle.images(model.architecture)
    of_labels, of_teacher = expected_logits(a, oracle.values(model), images)
    np.testing.assert_allclose(model(images), (of_labels + of_teacher) / 2, **oracle.TOLERANCE)
    outputs = student(model)(images)
    np.testing.assert_allclose(outputs["labels"], of_labels, **oracle.TOLERANCE)
    np.testing.assert_allclose(outputs["teacher"], of_teacher, **oracle.TOLERANCE)
    assert model.count_params() == keras_vit.count_params(a)
    assert (a.tokens, a.prefix_tokens) == (8, 2)


def test_it_costs_a_token_and_a_head():
    with_token, without = (
        keras_vit.flops(keras_vit.parse("Ti/16", distillation_token=flag)) / 1e9 for flag in (True, False)
    )
    assert 0 < with_token - without < 0.02
    # DeiT-Ti: 5.7 million, and distilled a token, its position and a head more: 5.9 million.
    assert keras_vit.count_params(keras_vit.parse("Ti/16")) == 5_717_416
    assert keras_vit.count_params(keras_vit.parse("Ti/16", distillation_token=True)) == 5_910_800


def test_the_student_trains_the_model_itself():
    model = made("mixed_bfloat16")
    taught = student(model)
    assert oracle.weights(taught).keys() == oracle.weights(model).keys()
    assert all(oracle.weights(model)[path] is variable for path, variable in oracle.weights(taught).items())
    assert taught.dtype_policy.name == "mixed_bfloat16"
    assert {output.dtype for output in taught.output.values()} == {"float32"}
    plain = made(distillation_token=False)
    assert student(plain) is plain


def test_without_head_features_are_those_of_the_class_token():
    model = made()
    headless = weights.load(model, num_classes=0)
    images = oracle.images(model.architecture)
    features = keras.Model(model.input, model.get_layer("pre_logits").output)
    np.testing.assert_allclose(headless(images), features(images), **oracle.TOLERANCE)


def test_saved_files_have_it_and_older_ones_need_not(tmp_path):
    model = made(position="learned_2d")
    images = oracle.images(model.architecture)
    for name in ("model.keras", "model.weights.h5"):
        weights.save(model, tmp_path / name, format="keras")
        np.testing.assert_allclose(weights.load(tmp_path / name)(images), model(images), **oracle.TOLERANCE)
    fields = model.architecture.to_dict()
    fields.pop("distillation_token")
    assert keras_vit.Architecture.from_dict(fields) == model.architecture.replace(distillation_token=False)


@pytest.mark.parametrize("position", ["learned_1d", "learned_2d"])
def test_both_tokens_survive_another_resolution_and_other_classes(position):
    model = made(position=position)
    before = oracle.values(model)
    changed, report = weights.load(model, return_report=True, image_size=(12, 8), num_classes=5)
    after = oracle.values(changed)
    for path in ("patch_encoder/class_token", "patch_encoder/distillation_token"):
        np.testing.assert_array_equal(after[path], before[path])
    table = "patch_encoder/position/" + {"learned_1d": "table", "learned_2d": "class_position"}[position]
    of_prefix = [array[0, :2] if position == "learned_1d" else array for array in (after[table], before[table])]
    np.testing.assert_array_equal(*of_prefix)
    heads = {f"{head}/{name}" for head in ("head", "head_distillation") for name in ("kernel", "bias")}
    assert {*report.reinitialised} == heads
    assert changed.output_shape == (None, 5)


@pytest.mark.parametrize("position", ["learned_1d", "learned_2d"])
def test_it_may_be_left_out_with_its_position(position):
    model = made(position=position)
    plain, report = weights.load(model, return_report=True, distillation_token=False)
    of_labels = student(model)(oracle.images(model.architecture))["labels"]
    assert {*report.unused} == {
        "patch_encoder/distillation_token",
        "head_distillation/kernel",
        "head_distillation/bias",
    }
    assert plain.architecture == model.architecture.replace(distillation_token=False)
    assert of_labels.shape == (2, 3)


def test_timm_names_go_both_ways(tmp_path):
    model = made(image_size=8, gelu="erf")
    weights.save(model, tmp_path / "deit.safetensors", format="timm")
    arrays = safetensors.numpy.load_file(tmp_path / "deit.safetensors")
    shapes = {"dist_token": (1, 1, 8), "head_dist.weight": (3, 8), "head_dist.bias": (3,), "pos_embed": (1, 6, 8)}
    assert {name: arrays[name].shape for name in shapes} == shapes
    own = oracle.values(model)
    np.testing.assert_array_equal(arrays["head_dist.weight"], own["head_distillation/kernel"].T)
    np.testing.assert_array_equal(arrays["pos_embed"], own["patch_encoder/position/table"])
    safetensors.numpy.save_file(arrays, tmp_path / "theirs.safetensors")  # without our note
    again = weights.load(tmp_path / "theirs.safetensors", heads=2)
    assert again.architecture.distillation_token
    images = oracle.images(model.architecture)
    np.testing.assert_allclose(again(images), model(images), **oracle.TOLERANCE)


@pytest.mark.parametrize("format, name", [("google", "w.npz"), ("bigvision", "w.npz"), ("huggingface", "w")])
def test_other_formats_say_that_they_have_no_place_for_it(format, name, tmp_path):
    with pytest.raises(ValueError, match=r"second token and head \(distillation_token\)"):
        weights.save(made(image_size=8), tmp_path / name, format=format)


def test_masked_patches_leave_both_tokens_out():
    model = made()
    outputs = masked_model(model)({"images": oracle.images(model.architecture), "ids": np.array([4, 7])})
    assert outputs["predictions"].shape == (2, 6, 512)


@pytest.mark.parametrize(
    ("fields", "fragments"),
    [
        ({"pool": "gap"}, ["distillation_token=True", "pool='gap'"]),
        ({"norm_site": "pooled"}, ["distillation_token=True", "norm_site='pooled'"]),
        ({"representation": 5}, ["distillation_token=True", "representation=5"]),
        ({"distillation_token": 1}, ["distillation_token is True or False", "1"]),
    ],
)
def test_what_does_not_go_with_it_is_one_value_error(fields, fragments):
    with pytest.raises(ValueError) as error:
        made(**fields)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)
