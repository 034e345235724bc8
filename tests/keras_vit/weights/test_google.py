"""The paper's `.npz` files: both numberings, and what their arrays tell about the architecture."""

import functools
import json

import numpy as np
import oracle
import pytest

from keras_vit import weights

NAMES = ["vit_token", "vit_representation", "vit_gap"]


@functools.cache
def load(name, path=None):
    return weights.load(str(path or oracle.FIXTURES / f"{name}.npz"), **oracle.LOADED[name])


@functools.cache
def hybrid(**overrides):
    return weights.load(oracle.FIXTURES / "vit_hybrid.npz", **overrides)


def read(name):
    with np.load(oracle.FIXTURES / f"{name}.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_is_told_by_the_arrays(name):
    config = json.loads((oracle.FIXTURES / f"{name}.json").read_text())
    a = load(name).architecture
    fields = {
        "image_size": [*a.image_shape[:2]],
        "num_classes": a.num_classes,
        "patches": [a.patch_size, a.patch_size],
        "transformer": {
            "num_layers": a.depth,
            "num_heads": a.heads,
            "mlp_dim": a.mlp_width,
            "dropout_rate": a.dropout,
            "attention_dropout_rate": a.attention_dropout,
        },
        "hidden_size": a.width,
        "classifier": a.pool,
    }
    assert fields | ({"representation_size": a.representation} if a.representation else {}) == config
    assert (a.gelu, a.epsilon, a.position) == ("tanh", 1e-6, "learned_1d")


@pytest.mark.parametrize("name", NAMES)
def test_arrays_stand_where_their_names_say(name):
    arrays, model = read(name), load(name)
    values = oracle.values(model)
    renumbered = {per_kind(array_name): array for array_name, array in arrays.items()}
    position = renumbered.pop("Transformer/posembed_input/pos_embedding")
    np.testing.assert_array_equal(values.pop("patch_encoder/position/table"), position)
    official = oracle.vit_arrays(model.architecture, values)
    assert set(official) == set(renumbered)
    for array_name, array in official.items():
        np.testing.assert_array_equal(array, renumbered[array_name], err_msg=array_name)


def per_kind(name):
    """The newer numbering of the modules inside a block: one counter for each kind."""
    return name.replace("Attention_1", "Attention_0").replace("Norm_2", "Norm_1").replace("MlpBlock_3", "MlpBlock_0")


@pytest.mark.parametrize("name", NAMES)
def test_both_numberings_are_the_same_model(name, tmp_path):
    np.savez(tmp_path / "linen.npz", **{per_kind(array_name): array for array_name, array in read(name).items()})
    old, new = load(name), load(name, tmp_path / "linen.npz")
    assert new.architecture == old.architecture
    for one, other in zip(old.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_file_without_a_head_gives_a_model_of_features(tmp_path):
    arrays = {name: array for name, array in read("vit_token").items() if not name.startswith("head/")}
    np.savez(tmp_path / "headless.npz", **arrays)
    expected = np.load(oracle.FIXTURES / "vit_token.expected.npz")
    model = load("vit_token", tmp_path / "headless.npz")
    assert model.architecture.num_classes == 0
    np.testing.assert_allclose(model(expected["images"]), expected["features"], rtol=0, atol=1e-5)


# Hybrids.


def test_stem_is_told_by_the_arrays():
    config = json.loads((oracle.FIXTURES / "vit_hybrid.json").read_text())
    a = hybrid().architecture
    fields = {"num_layers": [*a.stem], "width_factor": a.root_width / 64}
    assert fields == config["resnet"]
    assert [a.map_patch_size, a.map_patch_size] == config["patches"]
    assert ([*a.image_shape[:2]], a.patch_size, a.channels) == (config["image_size"], 8, 3)


def test_arrays_of_the_stem_stand_where_their_names_say():
    arrays, values = read("vit_hybrid"), oracle.values(hybrid())
    places = {
        "conv_root/kernel": "root/conv/kernel",
        "gn_root/scale": "root/norm/gamma",
        "block1/unit2/conv3/kernel": "stage_0_unit_1/conv_2/kernel",
        "block2/unit1/gn2/bias": "stage_1_unit_0/norm_1/beta",
        "block2/unit1/conv_proj/kernel": "stage_1_unit_0/projection/kernel",
        "block2/unit1/gn_proj/scale": "stage_1_unit_0/projection_norm/gamma",
    }
    for name, path in places.items():
        np.testing.assert_array_equal(arrays[name].reshape(values[path].shape), values[path], err_msg=path)


def test_hybrid_to_keras_and_back_is_byte_equal(tmp_path):
    weights.save(hybrid(), tmp_path / "model.keras", format="keras")
    weights.save(weights.load(tmp_path / "model.keras"), tmp_path / "again.npz", format="google")
    before = read("vit_hybrid")
    with np.load(tmp_path / "again.npz") as archive:
        after = dict(archive)
    assert sorted(before) == sorted(after)
    for name, array in before.items():
        assert array.tobytes() == after[name].tobytes() and array.shape == after[name].shape, name
    assert weights.load(tmp_path / "again.npz").architecture == hybrid().architecture


def test_vectors_of_group_norms_may_be_squeezed(tmp_path):
    arrays = {name: array.squeeze() if "gn" in name else array for name, array in read("vit_hybrid").items()}
    np.savez(tmp_path / "w.npz", **arrays)
    expected = np.load(oracle.FIXTURES / "vit_hybrid.expected.npz")
    model = weights.load(tmp_path / "w.npz")
    np.testing.assert_allclose(model(expected["images"]), expected["logits"], rtol=0, atol=1e-5)


def test_hybrid_for_another_resolution_patch_size_and_head():
    model, report = hybrid(image_size=(96, 64), patch_size=16, num_classes=3, return_report=True)
    assert (model.architecture.grid, model.architecture.map_patch_size) == ((6, 4), 2)
    assert report.resized == ["Transformer/posembed_input/pos_embedding", "embedding/kernel"]
    assert report.reinitialised == ["head/bias", "head/kernel"]
    assert model(oracle.images(model.architecture)).shape == (2, 3)


def test_another_stem_is_refused():
    with pytest.raises(weights.InvalidWeights, match=r"stem=\(2, 1\).*stem=\(2, 2\)"):
        hybrid(stem=(2, 2))


def test_stem_without_a_unit_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", **{name: a for name, a in read("vit_hybrid").items() if "block1/unit1/" not in name})
    with pytest.raises(weights.InvalidWeights, match="do not count from 1 without gaps"):
        weights.load(tmp_path / "w.npz")
