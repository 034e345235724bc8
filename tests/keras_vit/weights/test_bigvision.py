"""big_vision's `.npz` files: class token after positions, fixed positions, attention pooling."""

import functools
import json

import numpy as np
import oracle
import pytest

from keras_vit import weights

NAMES = ["bigvision_gap_learned", "bigvision_tok_rep", "bigvision_map_sincos"]


@functools.cache
def load(name):
    return weights.load(str(oracle.FIXTURES / f"{name}.npz"), **oracle.LOADED[name])


@pytest.mark.parametrize("name", NAMES)
def test_architecture_is_told_by_the_arrays(name):
    config = json.loads((oracle.FIXTURES / f"{name}.json").read_text())
    a = load(name).architecture
    fields = {
        "image_size": [*a.image_shape[:2]],
        "num_classes": a.num_classes,
        "patch_size": [a.patch_size, a.patch_size],
        "width": a.width,
        "depth": a.depth,
        "num_heads": a.heads,
        "posemb": {"learned_1d": "learn", "sincos2d": "sincos2d"}[a.position],
        "pool_type": {"token": "tok"}.get(a.pool, a.pool),
    }
    assert fields | ({"rep_size": a.representation} if a.representation else {}) == config
    assert (a.gelu, a.epsilon, a.mlp_width) == ("tanh", 1e-6, 4 * a.width)


def test_class_token_gets_no_position():
    table = oracle.values(load("bigvision_tok_rep"))["patch_encoder/position/table"]
    with np.load(oracle.FIXTURES / "bigvision_tok_rep.npz") as arrays:
        np.testing.assert_array_equal(table[:, 1:], arrays["pos_embedding"])
    np.testing.assert_array_equal(table[:, 0], np.zeros((1, 48)))


def test_positions_without_a_class_token_are_taken_as_they_are():
    table = oracle.values(load("bigvision_gap_learned"))["patch_encoder/position/table"]
    with np.load(oracle.FIXTURES / "bigvision_gap_learned.npz") as arrays:
        np.testing.assert_array_equal(table, arrays["pos_embedding"])


@pytest.mark.parametrize("name", NAMES)
def test_every_array_stands_somewhere_in_the_model(name):
    values = [array.tobytes() for array in oracle.values(load(name)).values()]
    with np.load(oracle.FIXTURES / f"{name}.npz") as arrays:
        lost = [key for key in arrays.files if arrays[key].tobytes() not in values and key != "pos_embedding"]
    assert lost == []


def test_fixed_positions_follow_the_image_size():
    model = weights.load(str(oracle.FIXTURES / "bigvision_map_sincos.npz"), image_size=(16, 40))
    assert model.architecture.grid == (2, 5)
    assert model(np.zeros((1, 16, 40, 3))).shape == (1, 6)
