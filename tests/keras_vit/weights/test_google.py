"""The paper's `.npz` files: both numberings, and what their arrays tell about the architecture."""

import json

import numpy as np
import oracle
import pytest

from keras_vit import weights

NAMES = ["vit_token", "vit_representation", "vit_gap"]


def load(name, path=None):
    return weights.load(str(path or oracle.FIXTURES / f"{name}.npz"), **oracle.LOADED[name])


def read(name):
    with np.load(oracle.FIXTURES / f"{name}.npz") as archive:
        return dict(archive)


@pytest.mark.parametrize("name", NAMES)
def test_architecture_is_told_by_the_arrays(name):
    theirs = json.loads((oracle.FIXTURES / f"{name}.json").read_text())
    a = load(name).architecture
    told = {
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
    assert told | ({"representation_size": a.representation} if a.representation else {}) == theirs
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
