"""The library on JAX with TensorFlow out of reach: one process builds, loads and computes, tests judge its answers."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import oracle
import pytest
import tensorflow as tf

from keras_vit import Architecture, build, count_params, optimization, parse

ROOT = pathlib.Path(__file__).parents[2]

ON_JAX = """
import importlib.abc, json, pathlib, sys

class NoTensorflow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError(f"{name} is out of reach in this test")

sys.meta_path.insert(0, NoTensorflow())
folder, fixtures, loaded = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])
facts = {}
try:
    import tensorflow
except ImportError as error:
    facts["tensorflow"] = str(error)

import jax, keras, keras_vit
import numpy as np
from keras_vit import optimization

def answer(model, inputs):
    return jax.jit(lambda inputs: model(inputs))(inputs)  # Compiled once: far quicker than operation by operation.

facts["backend"] = keras.config.backend()
facts["tensorflow modules"] = [name for name in sys.modules if name.split(".")[0] == "tensorflow"]

model = keras_vit.build("B/16", image_size=32, depth=1)
facts["B/16 parameters"] = model.count_params()
facts["B/16 shape"] = list(answer(model, np.zeros((2, 32, 32, 3), "float32")).shape)

for name, overrides in loaded.items():
    model = keras_vit.weights.load(str(fixtures / f"{name}.npz"), **overrides)
    parts = keras.Model(model.input, {part: model.get_layer(part).output for part in ("pre_logits", "head")})
    outputs = answer(parts, np.load(fixtures / f"{name}.expected.npz")["images"])
    np.savez(folder / f"{name}.npz", features=outputs["pre_logits"], logits=outputs["head"])

for path in folder.glob("*.keras"):
    model = keras.models.load_model(path)
    np.save(path.with_suffix(".outputs.npy"), answer(model, np.load(path.with_suffix(".inputs.npy"))))

updates = {}
for name in optimization.OPTIMIZERS:
    with keras.name_scope("a"):
        variables = [keras.Variable(np.ones((2, 2), "float32"), name="kernel")]
    schedule = optimization.WarmupSchedule("cosine", 0.1, 5, 2)
    optimizer = optimization.optimizer(name, variables, learning_rate=schedule, weight_decay=0.5, multipliers=[2.0])
    state = [variable.value for variable in variables], [variable.value for variable in optimizer.variables]
    apply = jax.jit(lambda gradients, state: optimizer.stateless_apply(state[1], gradients, state[0]))
    for step in range(4):
        state = apply([np.random.default_rng(step).normal(size=(2, 2)).astype("float32")], state)
    updates[name] = state[0][0]
np.savez(folder / "updates.npz", **updates)

(folder / "facts.json").write_text(json.dumps(facts))
"""

POSITIONS = ("learned_2d", "relative", "sincos2d")
# A class token with a representation, attention pooling without one, and a ResNet; the slow lane loads them all.
LOADED = ("vit_representation", "bigvision_map_sincos", "bit_resnet")


def small(position):
    """A class token beside attention pooling, so that one model has both."""
    sizes = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12}
    return Architecture(**sizes, position=position, pool="map", class_token=True, num_classes=3)


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory):
    """The folder with JAX's answers to saved models and weight files, and what it says of itself."""
    folder = tmp_path_factory.mktemp("jax")
    for position in POSITIONS:
        model = build(small(position))
        oracle.randomise(model)
        images = oracle.images(small(position))
        model.save(folder / f"{position}.keras")
        np.save(folder / f"{position}.inputs.npy", images)
        np.save(folder / f"{position}.expected.npy", model(images))
    run_on_jax(folder, LOADED)
    return folder, json.loads((folder / "facts.json").read_text())


def run_on_jax(folder, names):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # Compiling takes longer than computing here.
    loaded = json.dumps({name: oracle.LOADED[name] for name in names})
    command = [sys.executable, "-c", ON_JAX, str(folder), str(oracle.FIXTURES), loaded]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_tests_here_run_on_tensorflow():
    assert keras.config.backend() == "tensorflow"


def test_tensorflow_was_out_of_reach(on_jax):
    assert on_jax[1]["backend"] == "jax"
    assert "out of reach" in on_jax[1]["tensorflow"]
    assert on_jax[1]["tensorflow modules"] == []


def test_b16_is_built(on_jax):
    assert on_jax[1]["B/16 parameters"] == count_params(parse("B/16", image_size=32, depth=1))
    assert on_jax[1]["B/16 shape"] == [2, 1000]


def assert_answers_of_their_makers(folder, name):
    with np.load(oracle.FIXTURES / f"{name}.expected.npz") as expected, np.load(folder / f"{name}.npz") as actual:
        for part in ("logits", "features"):
            np.testing.assert_allclose(actual[part], expected[part], rtol=0, atol=1e-5, err_msg=f"{name} {part}")


@pytest.mark.parametrize("name", LOADED)
def test_weight_files_give_the_answers_of_their_makers(name, on_jax):
    assert_answers_of_their_makers(on_jax[0], name)


@pytest.mark.slow
def test_every_weight_file_gives_the_answers_of_its_makers(tmp_path):
    run_on_jax(tmp_path, oracle.LOADED)
    for name in oracle.LOADED:
        assert_answers_of_their_makers(tmp_path, name)


@pytest.mark.parametrize("position", POSITIONS)
def test_model_saved_on_tensorflow_answers_the_same(position, on_jax):
    outputs, expected = (np.load(on_jax[0] / f"{position}.{kind}.npy") for kind in ("outputs", "expected"))
    np.testing.assert_allclose(outputs, expected, **oracle.TOLERANCE)


@pytest.mark.parametrize("name", optimization.OPTIMIZERS)
def test_updates_are_those_on_tensorflow(name, on_jax):
    with keras.name_scope("a"):
        variable = keras.Variable(np.ones((2, 2), "float32"), name="kernel")
    schedule = optimization.WarmupSchedule("cosine", 0.1, 5, 2)
    optimizer = optimization.optimizer(name, [variable], learning_rate=schedule, weight_decay=0.5, multipliers=[2.0])
    for step in range(4):
        optimizer.apply([tf.constant(np.random.default_rng(step).normal(size=(2, 2)), tf.float32)], [variable])
    with np.load(on_jax[0] / "updates.npz") as updates:
        np.testing.assert_allclose(updates[name], variable.numpy(), rtol=1e-5)
