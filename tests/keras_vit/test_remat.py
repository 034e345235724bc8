"""Recomputed activations: the same losses, masks and gradients as kept ones, wherever a training step runs."""

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

from keras_vit import Architecture, build
from keras_vit.layers import TransformerBlock
from keras_vit.layers.recomputation import recomputed
from keras_vit.vit import recompute

ROOT = pathlib.Path(__file__).parents[2]
RANDOM = {"dropout": 0.3, "attention_dropout": 0.2, "stochastic_depth": 0.4}


def small(**fields):
    sizes = {"image_size": (8, 12), "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 12}
    return Architecture(**{**sizes, "num_classes": 3, **RANDOM, **fields})


def made(dtype="float32", **fields):
    model = build(small(**fields), dtype=dtype)
    oracle.randomise(model)
    return model, oracle.images(model.architecture, batch=4)


def states(layer):
    return [variable for variable in layer.non_trainable_variables if "seed_generator" in variable.path]


def in_training(layer, inputs):
    return layer(inputs, training=True)


def training_step(layer, seed=7, outputs=in_training):
    """A function of inputs to a loss and gradients, its random states set first, as the engine sets them."""

    def step(inputs):
        for site, state in enumerate(states(layer)):
            state.assign([site, seed])
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.cast(outputs(layer, inputs), "float32")))
        weights = {path: weight.value for path, weight in oracle.weights(layer).items() if weight.trainable}
        gradients = tape.gradient(loss, weights)
        return loss, {path: tf.convert_to_tensor(gradient) for path, gradient in gradients.items()}

    return step


def eager(step):
    return step


def plain_and_recomputed(model, images, compiled=eager):
    """The step's answer without and with recomputation."""
    answers = []
    for enabled in (False, True):
        recompute(model, enabled)
        answers.append(compiled(training_step(model))(images))
    return answers


def assert_same(plain, again, tolerance):
    assert float(plain[0]) == float(again[0])
    assert plain[1].keys() == again[1].keys()
    largest = max(np.abs(gradient).max() for gradient in plain[1].values())
    for path, gradient in plain[1].items():
        # Attention's key biases have no true gradient, only rounding.
        scale = largest if path.endswith("key/bias") else np.abs(gradient).max()
        np.testing.assert_allclose(again[1][path], gradient, rtol=0, atol=tolerance * scale, err_msg=path)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_losses_are_equal_and_gradients_too(compiled):
    assert_same(*plain_and_recomputed(*made(position="relative"), tf.function if compiled else eager), 1e-6)


def test_random_states_decide_everything():
    model, images = made()
    recompute(model)
    assert_same(training_step(model)(images), training_step(model)(images), 0.0)
    assert float(training_step(model)(images)[0]) != float(training_step(model, seed=8)(images)[0])


@pytest.mark.parametrize("rate", RANDOM)
def test_each_kind_of_randomness_alone(rate):
    model, images = made(**{**dict.fromkeys(RANDOM, 0.0), rate: 0.5})
    assert_same(*plain_and_recomputed(model, images), 1e-6)


def test_without_randomness_nothing_is_drawn():
    model, images = made(**dict.fromkeys(RANDOM, 0.0))
    assert states(model) == []
    assert_same(*plain_and_recomputed(model, images), 1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(dtype):
    # Eagerly: compilers round half precision differently in a graph of another shape.
    assert_same(*plain_and_recomputed(*made(dtype)), 1e-6)


def test_frozen_block_passes_gradients_on():
    model, images = made()
    model.get_layer("block_1").trainable = False
    plain, again = plain_and_recomputed(model, images)
    assert not [path for path in plain[1] if path.startswith("block_1/")]
    assert_same(plain, again, 1e-6)


def test_mask_and_weights_of_a_block():
    block, tokens = TransformerBlock(2, 12, **RANDOM), tf.constant(oracle.normal(2, 7, 8))
    mask = np.arange(7) < [[5], [7]]
    block(tokens)
    oracle.randomise(block)

    def both_outputs(block, inputs):
        answer, weights = block(inputs, mask=mask, return_weights=True, training=True)
        return tf.concat([answer[..., :7], weights[:, 0]], axis=-1)

    answers = []
    for enabled in (False, True):
        block.recompute = enabled
        answers.append(training_step(block, outputs=both_outputs)(tokens))
    assert_same(*answers, 1e-6)


def test_generators_are_left_as_without():
    model, images = made()
    after = []
    for enabled in (False, True):
        recompute(model, enabled)
        training_step(model)(images)
        after.append([state.numpy().tolist() for state in states(model)])
    assert after[0] == after[1] == [[site, 7 + 1] for site in range(len(after[0]))]


def test_mask_of_the_backward_pass_is_that_of_the_forward_pass():
    generator, tokens = keras.random.SeedGenerator(3), tf.ones((2, 50, 8))
    with tf.GradientTape() as tape:
        tape.watch(tokens)
        outputs = recomputed(lambda tokens: keras.random.dropout(tokens, 0.5, seed=generator), [generator])(tokens)
    assert set(np.unique(outputs)) == {0.0, 2.0}
    np.testing.assert_array_equal(tape.gradient(outputs, tokens), outputs)


def test_generators_advance_again_after_a_failure():
    generator = keras.random.SeedGenerator(3)

    def fails(tokens):
        raise ArithmeticError("on purpose")

    with pytest.raises(ArithmeticError):
        recomputed(fails, [generator])(tf.ones((1, 2, 3)))
    assert [generator.next().numpy().tolist() for _ in range(2)] == [[3, 1], [3, 2]]


def test_body_runs_twice_in_training_and_once_otherwise(monkeypatch):
    runs, body = [], TransformerBlock._forward
    monkeypatch.setattr(TransformerBlock, "_forward", lambda *inputs: runs.append(1) or body(*inputs))
    model, images = made(depth=1)
    for enabled, expected in ((False, 1), (True, 2)):
        recompute(model, enabled)
        runs.clear()
        training_step(model)(images)
        assert len(runs) == expected
    runs.clear()
    with tf.GradientTape():
        model(images, training=False)
    assert len(runs) == 1


def test_compiled_a_block_is_the_same_and_neither_its_second_run_nor_its_masks_are_merged():
    # Merged, they would be kept from the forward pass, and no memory saved.
    block, tokens = TransformerBlock(2, 12, dropout=0.3), tf.constant(oracle.normal(4, 7, 8))
    block(tokens)
    oracle.randomise(block)
    answers, products, random_bits = [], [], []
    for block.recompute in (False, True):
        step = tf.function(training_step(block), jit_compile=True)
        answers.append(step(tokens))
        compiled = step.experimental_get_compiler_ir(tokens)(stage="optimized_hlo")
        products.append(compiled.count(" dot("))
        random_bits.append(compiled.count(" xor("))
    assert_same(*answers, 1e-6)
    # Of the block's eight products the second run needs all but the last.
    assert products[1] == products[0] + 7
    assert random_bits[1] > 1.5 * random_bits[0] > 0


def test_fit_trains_to_the_same_weights():
    trained = []
    for enabled in (False, True):
        keras.utils.set_random_seed(5)
        model, images = made(depth=1)
        recompute(model, enabled)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01), loss, jit_compile=False)
        model.fit(images, np.arange(4) % 3, batch_size=2, epochs=2, verbose=0)
        trained.append(oracle.values(model))
    for path, weight in trained[0].items():
        np.testing.assert_allclose(trained[1][path], weight, rtol=1e-5, atol=1e-6, err_msg=path)


def test_saved_model_does_not_carry_it(tmp_path):
    model, images = made()
    config, block_config = model.get_config(), model.get_layer("block_1").get_config()
    recompute(model)
    assert model.get_config() == config
    assert model.get_layer("block_1").get_config() == block_config
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss, run_eagerly=True)
    model.fit(images, np.arange(4) % 3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [loaded.get_layer(f"block_{i}").recompute for i in range(2)] == [False] * 2
    np.testing.assert_array_equal(loaded(images), model(images))


def test_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"TransformerBlock.*'plain' has none"):
        recompute(keras.Sequential([keras.layers.Dense(1)], name="plain"))


def facts_of(program, tmp_path, **environment):
    path = tmp_path / "facts.json"
    command = [sys.executable, "-c", program, str(path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}", **environment}
    # Compiling takes longer than computing here.
    environment |= {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(path.read_text())


MODEL = """
import json, pathlib, sys
import keras, numpy as np
import keras_vit
from keras_vit.vit import recompute

keras.utils.set_random_seed(0)

def made():
    sizes = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 12, "num_classes": 3}
    rates = {"dropout": 0.3, "attention_dropout": 0.2}
    model = keras_vit.build(keras_vit.Architecture(**sizes, **rates))
    for weight in model.trainable_variables:
        weight.assign(np.random.normal(0, 0.4, weight.shape))
    return model

def error(kept, again):
    return max(float(np.abs(np.asarray(b) - np.asarray(a)).max()) for a, b in zip(kept, again, strict=True))

images = np.random.normal(size=(4, 8, 8, 3)).astype("float32")
"""

ON_TWO_REPLICAS = (
    """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
    + MODEL
    + """
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = made()
states = [variable for variable in model.non_trainable_variables if "seed_generator" in variable.path]
weights = [weight.value for weight in model.trainable_variables]

def gradients():
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(images, training=True)))
    return loss, tape.gradient(loss, weights)

def answers(enabled, xla):
    recompute(model, enabled)
    compiled = tf.function(gradients, jit_compile=True) if xla else gradients

    def replica():
        context = tf.distribute.get_replica_context()
        for site, state in enumerate(states):
            place = tf.stack([site, context.replica_id_in_sync_group])
            state.value.assign(tf.cast(place, tf.int64))
        loss, parts = compiled()
        return loss, context.all_reduce("SUM", parts)

    loss, sums = tf.function(lambda: strategy.run(replica))()
    sums = [strategy.experimental_local_results(part) for part in sums]
    return [float(part) for part in strategy.experimental_local_results(loss)], [part[0] for part in sums]

facts = {}
for name, xla in (("graph", False), ("xla", True)):
    (kept_losses, kept), (losses, again) = answers(False, xla), answers(True, xla)
    facts[name] = {"kept": kept_losses, "losses": losses, "error": error(kept, again)}
    facts[name]["largest"] = max(float(np.abs(part).max()) for part in kept)
pathlib.Path(sys.argv[1]).write_text(json.dumps(facts))
"""
)

ON_JAX = (
    MODEL
    + """
import jax

model = made()
trainable = [weight.value for weight in model.trainable_variables]
states = [np.asarray([site, 7], "uint32") for site, _ in enumerate(model.non_trainable_variables)]

def loss(trainable):
    outputs, after = model.stateless_call(trainable, states, images, training=True)
    return (outputs**2).sum(), after

facts = {}
for enabled in (False, True):
    recompute(model, enabled)
    step = jax.value_and_grad(lambda trainable: loss(trainable), has_aux=True)
    facts["checkpoint" if enabled else "no checkpoint"] = "prevent_cse=True" in str(jax.make_jaxpr(step)(trainable))
    (value, after), gradients = jax.jit(step)(trainable)
    facts.setdefault("losses", []).append(float(value))
    facts.setdefault("states", []).append([state.tolist() for state in after])
    if enabled:
        facts["error"] = error(kept, gradients)
    kept = gradients
pathlib.Path(sys.argv[1]).write_text(json.dumps(facts))
"""
)


@pytest.mark.slow
def test_replicas_keep_their_own_masks(tmp_path):
    facts = facts_of(ON_TWO_REPLICAS, tmp_path)
    for mode in ("graph", "xla"):
        assert facts[mode]["losses"] == facts[mode]["kept"], mode
        assert facts[mode]["losses"][0] != facts[mode]["losses"][1], mode
        assert facts[mode]["error"] <= 1e-6 * facts[mode]["largest"], mode


@pytest.mark.slow
def test_jax(tmp_path):
    facts = facts_of(ON_JAX, tmp_path, KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
    assert facts["checkpoint"] and not facts["no checkpoint"]
    assert facts["losses"][0] == pytest.approx(facts["losses"][1], rel=1e-6)
    assert facts["states"][0] == facts["states"][1]
    assert facts["error"] <= 1e-5
