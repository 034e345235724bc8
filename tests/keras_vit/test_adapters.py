"""Low-rank adapters."""

import numpy as np
import pytest

import keras_vit
from keras_vit import adapters


@pytest.fixture
def model():
    return keras_vit.build("mu/8", image_size=16, depth=2, num_classes=5)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")


def test_only_adapters_and_the_head_are_trainable(model):
    paths = adapters.add(model, 3)
    trained = {variable.path for variable in model.trainable_variables}
    assert len(paths) == 2 * 6
    assert trained == {f"{path[:-6]}lora_kernel_{which}" for path in paths for which in "ab"} | {
        "head/kernel",
        "head/bias",
    }


def test_a_new_adapter_changes_nothing(model, images):
    before = np.asarray(model(images))
    adapters.add(model, 2)
    np.testing.assert_array_equal(model(images), before)


def test_the_plain_copy_answers_the_same(model, images):
    model.get_layer("head").kernel.assign(np.random.default_rng(1).normal(size=(32, 5)))
    adapters.add(model, 2, alpha=3.0)
    random = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(0.3 * random.normal(size=variable.shape))
    before = np.asarray(model(images))
    copy = adapters.plain_copy(model)
    assert not any("lora" in variable.path for variable in copy.weights)
    np.testing.assert_allclose(copy(images), before, atol=1e-5)
    weights = {variable.path: np.asarray(variable) for variable in model.weights}
    for variable in model.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    np.testing.assert_allclose(adapters.plain_copy(model, weights)(images), before, atol=1e-5)


@pytest.mark.parametrize(("rank", "message"), [(0, "must be positive; got 0")])
def test_a_rank_that_cannot_be(model, rank, message):
    with pytest.raises(ValueError, match=message):
        adapters.add(model, rank)
