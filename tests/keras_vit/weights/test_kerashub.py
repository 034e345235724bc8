"""KerasHub's presets, as a fixture has them: a small classifier saved by KerasHub, and what it answers itself."""

import functools
import json
import shutil

import h5py
import keras
import numpy as np
import oracle
import pytest

from keras_vit import weights
from keras_vit.weights import InvalidWeights

PRESET = oracle.FIXTURES / "kerashub_vit"


@functools.cache
def loaded():
    return weights.load(PRESET)


@pytest.fixture
def preset(tmp_path):
    """A copy, to change."""
    return shutil.copytree(PRESET, tmp_path / "preset")


def change(path, **fields):
    content = json.loads(path.read_text())
    content["config"].update(fields)
    path.write_text(json.dumps(content))


def test_features_are_kerashubs():
    expected = np.load(PRESET.with_suffix(".expected.npz"))
    model = loaded()
    features = keras.Model(model.input, model.get_layer("pre_logits").output)
    np.testing.assert_allclose(features(expected["images"]), expected["features"], rtol=0, atol=1e-5)


def test_what_the_configurations_say_reaches_the_model():
    model = loaded()
    a, p = model.architecture, model.preprocessing
    assert (a.image_size, a.heads, a.gelu, a.epsilon, a.dropout) == ((24, 32), 3, "erf", 1e-5, 0.1)
    assert (p.size, p.resize, p.antialias, p.crop) == ((24, 32), "bicubic", True, 1.0)
    assert (p.mean, p.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_files_without_names_of_layers_are_read(preset):
    """As Keras wrote them before it noted the names."""
    for name in ("model.weights.h5", "task.weights.h5"):
        with h5py.File(preset / name, "r+") as file:
            file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
    for value, expected in zip(weights.load(preset).weights, loaded().weights, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_without_a_head_the_model_returns_features(preset):
    for name in ("task.json", "task.weights.h5", "image_converter.json"):
        (preset / name).unlink()
    model = weights.load(preset)
    assert (model.architecture.num_classes, model.architecture.representation) == (0, None)
    assert (model.preprocessing.mean, model.preprocessing.resize) == ((0.5,), "bilinear")


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("config.json", {"num_heads": 5}, "24 is not divisible by 5 heads"),
        ("config.json", {"num_heads": 2}, r"query_dense/0 \(24, 3, 8\) does not fit"),
        ("config.json", {"num_layers": 3}, "Missing for block_2/"),
        ("config.json", {"num_layers": 1}, "unused in the file .*vi_t_encoder_block_1"),
        ("task.json", {"pooling": "gap"}, "its mean counts the class token, ours does not"),
        ("task.json", {"num_classes": 6}, r"dense_1/0 \(7, 5\) does not fit"),
    ],
    ids=str,
)
def test_a_configuration_of_another_model_is_refused(file, fields, said, preset):
    change(preset / file, **fields)
    with pytest.raises(InvalidWeights, match=said) as error:
        weights.load(preset)
    assert "\n" not in str(error.value)


def test_an_image_converter_that_has_no_equal_is_told(preset):
    change(preset / "image_converter.json", interpolation="lanczos3", scale=1 / 255, offset=None)
    with pytest.warns(UserWarning, match="interpolation=lanczos3"):
        p = weights.load(preset).preprocessing
    assert (p.resize, p.mean, p.std) == ("bilinear", (0.0,), (1.0,))


def test_missing_arrays_and_damaged_files_are_refused(preset):
    with h5py.File(preset / "task.weights.h5", "r+") as file:
        del file["layers/dense_1/vars/0"]
    with pytest.raises(InvalidWeights, match="Missing for head/kernel"):
        weights.load(preset)
    (preset / "task.weights.h5").write_bytes((PRESET / "task.weights.h5").read_bytes()[:9000])
    with pytest.raises(InvalidWeights, match=r"task.weights.h5: not a readable \.h5 file.*truncated"):
        weights.load(preset)


def test_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="The kerashub format is read, not written; choose one of google"):
        weights.save(loaded(), tmp_path / "preset", format="kerashub")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [3, None, keras.layers.Dense(1)], ids=["number", "none", "layer"])
def test_what_is_neither_path_nor_model_is_refused(value):
    with pytest.raises(ValueError, match="Expected a path, a name or a Vision Transformer of KerasHub's; got"):
        weights.load(value)
