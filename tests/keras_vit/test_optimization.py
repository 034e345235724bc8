"""Schedules and update rules against numpy and against training runs of an independent implementation (optax)."""

import contextlib
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


def hyper_rule(step, supports, base):
    """The learning rate of BiT's code, bit_hyperrule.py: warm-up to the first support, falls after those in between."""
    if step < supports[0]:
        return base * step / supports[0]
    return base / 10 ** sum(place < step for place in supports[1:-1])


@pytest.mark.parametrize(
    "supports",
    [(100, 200, 300, 400, 500), (500, 3000, 6000, 9000, 10_000), (500, 6000, 12_000, 18_000, 20_000)],
)
def test_staircase_is_the_hyper_rule(supports):
    warmup, *places, total = supports
    schedule = optimization.WarmupSchedule("staircase", 0.003, total, warmup, decay_at=places)
    steps = [*range(0, total, total // 100), *(place + 1 for place in places), total - 1]
    assert [float(schedule(step)) for step in steps] == pytest.approx([hyper_rule(s, supports, 0.003) for s in steps])


@pytest.mark.parametrize(("kind", "places"), [("staircase", ()), ("cosine", (3,))])
def test_a_staircase_and_nothing_else_has_places_to_fall_at(kind, places):
    with pytest.raises(ValueError, match=f"decay_at .* for '{kind}'"):
        optimization.WarmupSchedule(kind, 0.1, 10, decay_at=places)


def test_schedules_round_trip_and_refuse_nonsense():
    schedule = optimization.WarmupSchedule("linear", 0.1, 10, 2, 0.01)
    assert type(schedule).from_config(schedule.get_config())(7) == schedule(7)
    staircase = optimization.WarmupSchedule("staircase", 0.1, 10, decay_at=[3, 6])
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(keras.saving.serialize_keras_object(staircase)))
    )
    assert [float(again(step)) for step in (3, 4, 7)] == pytest.approx([0.1, 0.01, 0.001])
    with pytest.raises(ValueError, match="constant, linear, cosine, staircase"):
        optimization.WarmupSchedule("step", 0.1, 10)
    with pytest.raises(ValueError, match="10 steps must be shorter than training, 10 steps"):
        optimization.WarmupSchedule("linear", 0.1, 10, 10)


@pytest.mark.parametrize("name", optimization.OPTIMIZERS)
def test_decay_is_for_kernels_only(name):
    """With gradients of 0 only decay is left: biases, norms, positions and tokens stay bit-equal."""
    model = keras_vit.build("mu/16", image_size=32, pool="map", class_token=True, representation=8)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    before = [variable.numpy() for variable in variables]
    optimizer = optimization.optimizer(name, variables, learning_rate=0.5, weight_decay=0.1)
    optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    decayed = [v.path for v, old in zip(variables, before, strict=True) if (v.numpy() != old).any()]
    assert {path.rsplit("/", 1)[1] for path in decayed} == {"kernel"}
    assert len(decayed) == 1 + 6 + 6 + 1 + 1  # patches, block, pooling, pre_logits, head
    for variable, old in zip(variables, before, strict=True):
        if variable.path in decayed:
            np.testing.assert_allclose(variable.numpy(), old * (1 - 0.5 * 0.1), rtol=1e-6)


def test_an_unknown_optimizer_lists_the_choices():
    with pytest.raises(ValueError, match="adam, adamw, sgd, lamb, lion"):
        optimization.optimizer("lars", [], learning_rate=0.1)


def lamb_step(arrays, gradients, state, rate, weight_decay):
    """LAMB, Algorithm 2 (arXiv 1904.00962), phi the identity; decay apart from the trust ratio, as `Lamb` says."""
    arrays = {path: array * (1 - rate * weight_decay * path.endswith("kernel")) for path, array in arrays.items()}
    before = {path: array.copy() for path, array in arrays.items()}
    # Adam's step r, read off an Adam of learning rate 1.
    after, state = reference.adamw_step(before, gradients, state, 1.0, epsilon=1e-7)
    for path, array in arrays.items():
        step = before[path] - after[path]
        lengths = np.linalg.norm(array), np.linalg.norm(step)
        arrays[path] = array - rate * (lengths[0] / lengths[1] if all(lengths) else 1.0) * step
    return arrays, state


def lion_step(arrays, gradients, state, rate, weight_decay):
    """Lion, Algorithm 2 (arXiv 2302.06675)."""
    momenta = state or dict.fromkeys(arrays, 0.0)
    moved = {}
    for path, array in arrays.items():
        direction = np.sign(0.9 * momenta[path] + 0.1 * gradients[path])
        moved[path] = array - rate * (direction + weight_decay * path.endswith("kernel") * array)
    return moved, {path: 0.99 * momenta[path] + 0.01 * gradients[path] for path in arrays}


def sgd_step(arrays, gradients, state, rate, weight_decay):
    decayed = {path: array * (1 - rate * weight_decay * path.endswith("kernel")) for path, array in arrays.items()}
    return reference.sgd_trace_step(decayed, gradients, state, rate)


ORACLES = {
    "adam": reference.adamw_step,
    "adamw": reference.adamw_step,
    "sgd": sgd_step,
    "lamb": lamb_step,
    "lion": lion_step,
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", optimization.OPTIMIZERS)
def test_updates_equal_the_numpy_reference(name, weight_decay):
    generator = np.random.default_rng(0)
    # The second bias is 0, as all are at first: LAMB's ratio is 1 there.
    arrays = {"a/kernel": generator.normal(size=(4, 3)), "a/bias": generator.normal(size=3), "b/bias": np.zeros(2)}
    variables = [keras.Variable(value.astype("float32"), name=path.split("/")[1]) for path, value in arrays.items()]
    schedule = optimization.WarmupSchedule("cosine", 0.1, 8, 3)
    optimizer = optimization.optimizer(name, variables, learning_rate=schedule, weight_decay=weight_decay)
    state = None
    for step in range(8):
        gradients = {path: generator.normal(size=value.shape) for path, value in arrays.items()}
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients.values()], variables)
        arrays, state = ORACLES[name](arrays, gradients, state, float(schedule(step)), weight_decay=weight_decay)
    for variable, array in zip(variables, arrays.values(), strict=True):
        np.testing.assert_allclose(variable.numpy(), array, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "made",
    [
        optimization.AdamW(1e-3, 0.8, 0.9, 1e-6, weight_decay=0.1, multipliers={"head/kernel": 2.0}),
        optimization.Momentum(0.1, 0.8, weight_decay=0.2),
        optimization.Lamb(0.1, beta_1=0.8, weight_decay=0.3),
        optimization.Lion(optimization.WarmupSchedule("cosine", 0.1, 8, 3), beta_2=0.9),
    ],
    ids=lambda made: made.name,
)
def test_optimizers_round_trip(made):
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert type(again) is type(made) and again.get_config() == made.get_config()


def named(*paths):
    """Variables of these paths, all 1."""
    variables = []
    for path in paths:
        *scopes, name = path.split("/")
        with contextlib.ExitStack() as stack:
            for scope in scopes:
                stack.enter_context(keras.name_scope(scope))
            variables.append(keras.Variable(np.ones((2, 2), "float32"), name=name))
    return variables


@pytest.mark.parametrize("name", optimization.OPTIMIZERS)
def test_a_multiplier_is_a_learning_rate_of_its_own(name):
    """Three weights in one optimizer end bit-equal to three optimizers of half, equal and twice the learning rate."""
    factors = {"a/kernel": 0.5, "b/kernel": 1.0, "c/bias": 2.0}
    together, alone = named(*factors), named(*factors)
    settings = {"learning_rate": 0.25, "weight_decay": 0.5}
    one = optimization.optimizer(name, together, **settings, multipliers=list(factors.values()))
    others = [
        optimization.optimizer(name, [variable], **settings | {"learning_rate": 0.25 * factor})
        for variable, factor in zip(alone, factors.values(), strict=True)
    ]
    for step in range(4):
        gradient = tf.constant(np.random.default_rng(step).normal(size=(2, 2)), tf.float32)
        one.apply([gradient] * 3, together)
        for other, variable in zip(others, alone, strict=True):
            other.apply([gradient], [variable])
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_multipliers_come_one_for_each_variable():
    with pytest.raises(ValueError, match="each of 2 variables; got 1"):
        optimization.optimizer("sgd", named("a/kernel", "b/kernel"), learning_rate=0.1, multipliers=[1.0])


def recipe(name, model):
    """The two recipes of train.json in our terms: optimizer and its settings."""
    kind, base, end, decay = {"sgd": ("cosine", 0.1, 0.0, 0.0), "adamw": ("linear", 3e-3, 1e-5, 0.1)}[name]
    schedule = optimization.WarmupSchedule(kind, base, 20, 5, end)
    return optimization.optimizer(name, model.trainable_variables, learning_rate=schedule, weight_decay=decay)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "clip", "smoothing"), [("sgd", 0.5, 0.0), ("adamw", 1.0, 0.1)])
def test_twenty_compiled_steps_equal_the_reference_run(name, clip, smoothing):
    """Losses, gradient norms and final weights of runs by the paper's model under optax, through our engine with XLA.

    tests/trainers/test_reference_runs.py has the same without, through the command.
    """
    from trainers.engine import runtime
    from trainers.engine.protocols import UpdateRule

    expected = json.loads((FIXTURES / "train.json").read_text())["results"][name]
    data = np.load(FIXTURES / "train_batches.npz")
    one_device = runtime.start("one_device", "float32", 0)
    with one_device.placed():
        model = keras_vit.weights.load(str(FIXTURES / "train_init.npz"))
        optimizer = recipe(name, model)
    arrays = {
        "images": data["images"],
        "labels": data["labels"],
        "weights": np.ones(data["labels"].shape, "float32"),
    }
    batches = tf.data.Dataset.from_tensor_slices(arrays)
    rule = UpdateRule(batch_size=data["labels"].shape[1], clip_norm=clip, xla=True)
    steps = one_device.steps(model, Softmax(7, smoothing), optimizer, batches.element_spec, rule)
    iterator = steps.batches(lambda *part: batches)
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
