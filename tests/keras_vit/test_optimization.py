"""Schedules and update rules against numpy and against training runs of an independent implementation (optax)."""

import json
import pathlib

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

import keras_vit
from keras_vit import optimization
from keras_vit.objectives.classification import Softmax

FIXTURES = pathlib.Path(reference.__file__).parent / "fixtures"


@pytest.mark.parametrize(
    ("kind", "base", "end", "total", "warmup", "points"),
    [
        ("cosine", 0.03, 0, 10000, 500, {1: 6e-5, 250: 0.015, 500: 0.03, 2500: 0.0268371, 5250: 0.015, 10000: 0}),
        ("cosine", 0.03, 0, 20000, 500, {5000: 0.0262277, 10250: 0.015, 15000: 0.00460913}),
        ("linear", 1e-3, 1e-5, 312000, 10000, {5000: 5e-4, 10000: 1e-3, 161000: 5.05e-4, 312000: 1e-5}),
        ("constant", 0.1, 0, 100, 10, {0: 0, 5: 0.05, 10: 0.1, 100: 0.1}),
        ("linear", 1.0, 0, 10, 0, {0: 1.0, 5: 0.5, 10: 0, 12: 0}),
    ],
)
def test_published_points_of_schedules(kind, base, end, total, warmup, points):
    schedule = optimization.WarmupSchedule(kind, base, total, warmup, end)
    for step, rate in points.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=2e-5, abs=1e-9)


def test_schedules_round_trip_and_refuse_nonsense():
    schedule = optimization.WarmupSchedule("linear", 0.1, 10, 2, 0.01)
    assert type(schedule).from_config(schedule.get_config())(7) == schedule(7)
    with pytest.raises(ValueError, match="constant, linear, cosine"):
        optimization.WarmupSchedule("step", 0.1, 10)
    with pytest.raises(ValueError, match="10 steps must be shorter than training, 10 steps"):
        optimization.WarmupSchedule("linear", 0.1, 10, 10)


def test_decay_is_for_kernels_only():
    model = keras_vit.build("mu/16", image_size=32, pool="map", representation=8)
    decayed = {v.path for v in model.trainable_variables if optimization.decays(v)}
    assert {path.rsplit("/", 1)[1] for path in decayed} == {"kernel"}
    assert len(decayed) == 1 + 6 + 6 + 1 + 1  # patches, block, pooling, pre_logits, head


def test_an_unknown_optimizer_lists_the_choices():
    with pytest.raises(ValueError, match="adam, adamw, sgd"):
        optimization.optimizer("lars", [], learning_rate=0.1)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_updates_equal_the_numpy_reference(name):
    generator = np.random.default_rng(0)
    arrays = {"a/kernel": generator.normal(size=(4, 3)), "a/bias": generator.normal(size=3)}
    variables = [keras.Variable(value, name=path.split("/")[1]) for path, value in arrays.items()]
    schedule = optimization.WarmupSchedule("cosine", 0.1, 8, 3)
    optimizer = optimization.optimizer(name, variables, learning_rate=schedule, weight_decay=0.1 * (name == "adamw"))
    state = None
    for step in range(8):
        gradients = {path: generator.normal(size=value.shape) for path, value in arrays.items()}
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients.values()], variables)
        rate = float(schedule(step))
        if name == "adamw":
            arrays, state = reference.adamw_step(arrays, gradients, state, rate, weight_decay=0.1)
        else:
            arrays, state = reference.sgd_trace_step(arrays, gradients, state, rate)
    for variable, array in zip(variables, arrays.values(), strict=True):
        np.testing.assert_allclose(variable.numpy(), array, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "momentum"])
def test_optimizers_round_trip(name):
    made = {"adamw": optimization.AdamW(1e-3, 0.8, 0.9, 1e-6), "momentum": optimization.Momentum(0.1, 0.8)}[name]
    assert type(made).from_config(made.get_config()).get_config() == made.get_config()


def recipe(name, model):
    """The two recipes of train.json in our terms: optimizer and its settings."""
    kind, base, end, decay = {"sgd": ("cosine", 0.1, 0.0, 0.0), "adamw": ("linear", 3e-3, 1e-5, 0.1)}[name]
    schedule = optimization.WarmupSchedule(kind, base, 20, 5, end)
    return optimization.optimizer(name, model.trainable_variables, learning_rate=schedule, weight_decay=decay)


@pytest.mark.parametrize(("name", "clip", "smoothing"), [("sgd", 0.5, 0.0), ("adamw", 1.0, 0.1)])
@pytest.mark.parametrize("xla", [False, True])
def test_twenty_steps_equal_the_reference_run(name, clip, smoothing, xla):
    """Losses, gradient norms and final weights of runs by the paper's model under optax, through our engine."""
    from trainers.engine.feeding import distribute
    from trainers.engine.steps import Steps

    expected = json.loads((FIXTURES / "train.json").read_text())["results"][name]
    data = np.load(FIXTURES / "train_batches.npz")
    strategy = tf.distribute.OneDeviceStrategy("/device:CPU:0")
    with strategy.scope():
        model = keras_vit.weights.load(str(FIXTURES / "train_init.npz"))
        optimizer = recipe(name, model)
    arrays = {
        "images": data["images"],
        "labels": data["labels"],
        "weights": np.ones(data["labels"].shape, "float32"),
    }
    batches = tf.data.Dataset.from_tensor_slices(arrays)
    steps = Steps(
        model,
        Softmax(7, smoothing),
        optimizer,
        strategy,
        batches.element_spec,
        batch_size=data["labels"].shape[1],
        clip_norm=clip,
        xla=xla,
    )
    iterator = iter(distribute(lambda *part: batches, strategy, data["labels"].shape[1]))
    logs = [steps.train(iterator, 1) for _ in range(20)]
    np.testing.assert_allclose([log["loss"] for log in logs], expected["losses"], atol=1e-4)
    np.testing.assert_allclose([log["gradient_norm"] for log in logs], expected["gradient_norms"], atol=1e-4)
    final = keras_vit.weights.load(str(FIXTURES / f"train_{name}.final.npz"))
    for ours, theirs in zip(model.trainable_variables, final.trainable_variables, strict=True):
        difference = np.abs(ours.numpy() - theirs.numpy()).max()
        if ours.path.endswith("key/bias"):  # no true gradient: Adam steps on rounding noise
            assert difference <= sum(expected["learning_rates"])
        else:
            assert difference <= 1e-3 * np.abs(theirs.numpy()).max(), ours.path
