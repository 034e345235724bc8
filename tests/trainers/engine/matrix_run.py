"""Trains the reference model under one distribution, once per case, and saves what comes out.

Run as a process by test_matrix.py, because TensorFlow takes its devices and its cluster only once per process:
`python matrix_run.py OUTPUT.npz DISTRIBUTION LOGICAL_CPUS CASE...` with cases like `adamw-xla-4`: an optimizer, or
dropout for AdamW with dropout, taught for AdamW with a teacher; xla or plain; micro-batches.
"""

import functools
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_vit
from keras_vit import optimization
from keras_vit.distilling import Teacher
from keras_vit.objectives.classification import Softmax
from keras_vit.objectives.distillation import Distillation
from trainers.engine import loop, runtime
from trainers.engine.protocols import UpdateRule

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures"
BATCH, STEPS, EXAMPLES = 16, 12, 37
REBUILT = {"dropout": {"dropout": 0.2, "stochastic_depth": 0.1}, "float16": {"dtype": "mixed_float16"}}


def feed(arrays, stop, share, shares, rows, heavy=None):
    """Rows [i B + share/shares B, ...) of each global batch i, padded with rows of weight 0 past `stop`.

    The gradients of the row `heavy` overflow in float16, though the loss does not: on one replica only.
    """
    size = -(-stop // BATCH) * BATCH
    padded = {name: np.resize(values, (size, *values.shape[1:])) for name, values in arrays.items()}
    padded["weights"] = (np.arange(size) < stop).astype("float32")
    if heavy is not None:
        padded["weights"][heavy] = 1e30
    local = {
        name: values.reshape(-1, shares, BATCH // shares, *values.shape[1:])[:, share].reshape(-1, *values.shape[1:])
        for name, values in padded.items()
    }
    return tf.data.Dataset.from_tensor_slices(local).batch(rows, drop_remainder=True)


def train(case, runtime):
    rule, compiled, accumulate = case.split("-")
    data = np.load(FIXTURES / "train_batches.npz")
    arrays = {name: data[name].reshape(-1, *data[name].shape[2:]) for name in ("images", "labels")}
    with runtime.placed():
        model = keras_vit.weights.load(FIXTURES / "train_init.npz")
        if rule in REBUILT:
            arrays_of_model = model.get_weights()
            model = keras_vit.build(model.architecture, **REBUILT[rule])
            for variable, value in zip(model.trainable_variables, arrays_of_model, strict=True):
                variable.assign(value)
        schedule = optimization.WarmupSchedule("cosine", 3e-3, STEPS, 3)
        optimizer = optimization.optimizer(
            {"dropout": "adamw", "float16": "sgd", "wrong": "adamw", "taught": "adamw"}.get(rule, rule),
            model.trainable_variables,
            learning_rate=schedule,
            weight_decay=0.0 if rule == "adam" else 0.1,
        )
        model.compile(optimizer=optimizer)
    objective = Softmax(7, 0.1)
    taught = Distillation(7, teacher_of(model, runtime), "soft", share=0.5) if rule == "taught" else objective
    training = functools.partial(feed, arrays, STEPS * BATCH, heavy=2 * BATCH + 1 if rule == "float16" else None)
    rule = UpdateRule(
        batch_size=BATCH,
        clip_norm=0.5,
        accumulate=int(accumulate),
        ema=0.9,
        xla=compiled == "xla",
    )
    steps = runtime.steps(model, taught, optimizer, training(0, 1, BATCH).element_spec, rule)
    if rule == "wrong":
        clip_before_reduction(steps)
    if steps._scale:
        steps._scale.value.assign(2.0**12)
    evaluation = runtime.evaluation(model, objective, functools.partial(feed, arrays, EXAMPLES), BATCH)
    history = keras.callbacks.History()
    loop.Trainer(steps, loop.Plan(STEPS, 4, 2, 2), [history], evaluation).fit(training)
    results = {variable.path: variable.numpy() for variable in model.trainable_variables}
    logs = {name: values for name, values in history.history.items() if name != "input_wait"}
    results |= {f"log/{name}": np.array(values) for name, values in logs.items()}
    results["log/loss_scale"] = np.array(steps.state()["loss_scale"].get("value", 1.0))
    return results


def teacher_of(model, runtime):
    """A larger one, of other images, whose answers differ."""
    with runtime.placed():
        keras.utils.set_random_seed(1)
        teacher = keras_vit.build("mu/16", image_size=48, num_classes=7, channels=model.architecture.channels)
        teacher.get_layer("head").set_weights([np.random.default_rng(0).normal(size=(32, 7)), np.zeros(7)])
    return Teacher(teacher, model.preprocessing)


def clip_before_reduction(steps):
    """The order of Keras's `fit`: a mutation, so that the tests can see themselves notice it."""
    micro_batches, share = steps._micro_batches, steps.rule.clip_norm / steps.strategy.num_replicas_in_sync

    def clipped(batch):
        gradients, sums = micro_batches(batch)
        return tf.clip_by_global_norm(gradients, share)[0], sums

    steps._micro_batches = clipped


def main(output, distribution, logical_cpus, *cases):
    chosen = runtime.start(distribution, "float32", 0, int(logical_cpus))
    saved = {f"{case}:{name}": value for case in cases for name, value in train(case, chosen).items()}
    if chosen.is_chief:
        np.savez(output, replicas=chosen.replicas, **saved)


if __name__ == "__main__":
    main(*sys.argv[1:])
