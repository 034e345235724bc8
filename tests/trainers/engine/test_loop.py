"""The loop: `fit`'s order of callbacks, its numbers, exact averages, exact evaluation, what is not finite.

None of that depends on the model, so it is as small as one can be.
"""

import functools
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import keras_vit
from keras_vit import optimization
from keras_vit.objectives.classification import Softmax
from trainers.engine import callbacks, loop
from trainers.engine.checkpoint import Checkpoints
from trainers.engine.endings import NotFinite
from trainers.engine.protocols import UpdateRule
from trainers.engine.tensorflow.evaluation import Evaluation
from trainers.engine.tensorflow.steps import Steps
from trainers.engine.tensorflow.update_state import LossScale

EVENTS = [
    f"on_{phase}_{edge}"
    for phase in ("train", "epoch", "train_batch", "test", "test_batch")
    for edge in ("begin", "end")
]


class Recorder(keras.callbacks.Callback):
    """Writes down what is called, with the batch or epoch number."""

    def __init__(self):
        super().__init__()
        self.events = []
        for name in EVENTS:
            setattr(self, name, self._recording(name))

    def _recording(self, name):
        return lambda *arguments, **_: self.events.append((name, *[a for a in arguments if isinstance(a, int)]))


def dataset(batches=4, size=8):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(batches, size, 5)).astype("float32")
    labels = generator.integers(0, 3, (batches, size))
    weights = np.ones((batches, size), "float32")
    return tf.data.Dataset.from_tensor_slices({"images": images, "labels": labels, "weights": weights})


def feed(batches):
    """One host's feed of these batches."""
    return lambda share, shares, rows: batches.unbatch().batch(rows, drop_remainder=True)


def a_model(dtype="float32"):
    keras.utils.set_random_seed(0)
    layers = [("tanh", 4, "hidden"), (None, 3, "head")]
    dense = [keras.layers.Dense(width, kind, dtype=dtype, name=name) for kind, width, name in layers]
    model = keras.Sequential([keras.Input((5,)), *dense], name="small")
    model.dtype_policy = dtype  # of the whole, which is what decides on a loss scale
    return model


def small(objective=None, dtype="float32", **changes):
    model = a_model(dtype)
    optimizer = optimization.optimizer("adamw", model.trainable_variables, learning_rate=1e-2)
    model.compile(optimizer=optimizer)
    strategy = tf.distribute.OneDeviceStrategy("/device:CPU:0")
    return Steps(
        strategy, model, objective or Softmax(3), optimizer, dataset().element_spec, UpdateRule(batch_size=8, **changes)
    )


@functools.cache
def _kept(**arguments):
    steps = small(**arguments)
    return steps, steps.state()


def anew(**arguments):
    """The same, whose graphs an earlier test may have traced."""
    steps, state = _kept(**arguments)
    steps.restore(state)
    return steps


def pairs(batches):
    return batches.map(lambda batch: (batch["images"], batch["labels"]))


def test_callbacks_are_called_in_the_order_of_fit():
    ours, theirs = Recorder(), Recorder()
    steps = small()
    evaluation = Evaluation(steps.strategy, steps.model, steps.objective, feed(dataset(2)), 8)
    loop.Trainer(steps, loop.Plan(4, 2, 1, 1), [ours], evaluation).fit(feed(dataset()))

    model = a_model()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(
        pairs(dataset()).repeat(),
        epochs=2,
        steps_per_epoch=2,
        validation_data=pairs(dataset(2)),
        callbacks=[theirs],
        verbose=0,
    )
    assert ours.events == theirs.events


def test_losses_equal_those_of_fit():
    """On one device, without clipping, our loop is `fit`."""
    losses = {}
    steps = anew()
    log = keras.callbacks.History()
    loop.Trainer(steps, loop.Plan(4, 1, 1, 1), [log]).fit(feed(dataset()))
    losses["ours"] = log.history["loss"]

    model = a_model()
    model.compile(
        optimization.optimizer("adamw", model.trainable_variables, learning_rate=1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses["fit"] = model.fit(pairs(dataset()), epochs=1, shuffle=False, verbose=0).history["loss"]
    assert np.mean(losses["ours"]) == pytest.approx(losses["fit"][0], rel=1e-5)
    for one, other in zip(steps.model.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_steps_per_call_does_not_change_the_result():
    weights = []
    for steps_per_call in (1, 3):
        steps = small(clip_norm=0.1, ema=0.9)
        loop.Trainer(steps, loop.Plan(7, 5, 100, steps_per_call), []).fit(feed(dataset().repeat()))
        weights.append(steps.model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluating_leaves_the_weights_bit_equal():
    steps = anew(ema=0.5)
    steps.train(steps.batches(feed(dataset())), 3)
    before = steps.model.get_weights()
    evaluation = Evaluation(steps.strategy, steps.model, steps.objective, feed(dataset(2)), 8)
    for _ in range(3):
        with steps.averaged():
            evaluation.run()
            inside = steps.model.get_weights()
    for one, other in zip(before, steps.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(before, inside, strict=True))


def test_averages_follow_their_formula():
    steps = anew(ema=0.5)
    iterator = steps.batches(feed(dataset()))
    expected = [variable.numpy() for variable in steps.model.trainable_variables]
    for step in range(1, 4):
        steps.train(iterator, 1)
        decay = min(0.5, (1 + step) / (10 + step))
        current = [variable.numpy() for variable in steps.model.trainable_variables]
        expected = [mean * decay + value * (1 - decay) for mean, value in zip(expected, current, strict=True)]
    with steps.averaged():
        for variable, mean in zip(steps.model.trainable_variables, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), mean, atol=1e-6)


def test_clipping_bounds_what_the_optimizer_sees():
    applied = []
    steps = small(clip_norm=0.01)
    steps.optimizer.apply = lambda gradients, variables: applied.append(tf.linalg.global_norm(gradients))
    reduced = steps.strategy.run(steps._reduced_gradients, args=(next(iter(dataset())),))
    steps.strategy.run(steps._apply, args=reduced)
    assert float(applied[0]) == pytest.approx(0.01, rel=1e-5)
    assert steps._totals.take_means()["gradient_norm"] > 0.01


def test_weights_of_zero_leave_rows_out_of_every_number():
    steps = anew()
    batch = next(iter(dataset()))
    padded = {name: tf.concat([value, value[:3]], axis=0) for name, value in batch.items()}
    padded["weights"] = tf.concat([tf.ones(8), tf.zeros(3)], axis=0)
    results = []
    for rows in (batch, padded):
        one = feed(tf.data.Dataset.from_tensors(rows))
        results.append(Evaluation(steps.strategy, steps.model, steps.objective, one, len(rows["labels"])).run())
    assert results[0] == pytest.approx(results[1], rel=1e-6)


def test_a_data_set_that_ends_too_early_is_an_error():
    steps = anew()
    with pytest.raises((RuntimeError, tf.errors.OutOfRangeError)):
        steps.train(steps.batches(feed(dataset(2))), 3)


def test_stop_training_is_honoured_after_a_call():
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    steps = anew()
    loop.Trainer(steps, loop.Plan(20, 5, 100, 2), [Stop()]).fit(feed(dataset().repeat()))
    assert steps.step == 2


@given(total=st.integers(1, 500), evaluate=st.integers(1, 100), log=st.integers(1, 100), per_call=st.integers(1, 100))
def test_calls_cover_training_and_cross_no_boundary(total, evaluate, log, per_call):
    plan = loop.Plan(total, evaluate, log, per_call)
    step = 0
    while step < total:
        count = plan.next_count(step)
        assert 1 <= count <= per_call
        assert step // log == (step + count - 1) // log and step // evaluate == (step + count - 1) // evaluate
        step += count
    assert step == total and plan.epoch_end(plan.epochs - 1) == total


def test_progress_is_line_wise_away_from_a_terminal(capsys):
    steps = anew()
    loop.Trainer(steps, loop.Plan(4, 2, 2, 2), [callbacks.Progress(4, 8)]).fit(feed(dataset().repeat()))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 2/4", "step 4/4"]
    assert all(word in lines[0] for word in ("loss", "accuracy", "lr", "img/s", "left"))


def test_progress_on_a_terminal_is_a_bar_with_the_time_left():
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    loop.Trainer(anew(), loop.Plan(4, 2, 2, 2), [callbacks.Progress(4, 8, terminal)]).fit(feed(dataset().repeat()))
    shown = terminal.getvalue()
    assert "4/4" in shown and "loss" in shown and "100%" in shown


def test_every_dropout_of_the_model_is_seeded():
    model = keras_vit.build(
        "mu/16", image_size=32, num_classes=3, depth=2, dropout=0.1, attention_dropout=0.1, stochastic_depth=0.1
    )
    optimizer = optimization.optimizer("sgd", model.trainable_variables, learning_rate=0.1)
    strategy = tf.distribute.OneDeviceStrategy("/device:CPU:0")
    spec = {**dataset().element_spec, "images": tf.TensorSpec((8, 32, 32, 3))}
    steps = Steps(strategy, model, Softmax(3), optimizer, spec, UpdateRule(batch_size=8, seed=5))
    # Positions; per block attention weights, output and two in the MLP; two branches of the block that may be dropped.
    assert len(steps._seeds) == 1 + 2 * 4 + 2
    strategy.run(steps._set_seeds, args=(0,))
    first = [tuple(variable.numpy()) for variable in steps._seeds]
    strategy.run(steps._set_seeds, args=(1,))
    assert len({*first, *(tuple(variable.numpy()) for variable in steps._seeds)}) == 22


def training_data(value=None):
    """Batches of which the second holds a value that ruins its gradients."""
    batches = [{name: np.array(rows) for name, rows in batch.items()} for batch in dataset(4).as_numpy_iterator()]
    if value is not None:
        batches[1]["images"][0, 0] = value
    stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
    return tf.data.Dataset.from_tensor_slices(stacked)


def test_a_step_that_is_not_finite_is_not_applied_and_said(tmp_path):
    clean, ruined = small(), small()
    clean.train(clean.batches(feed(training_data())), 1)
    with pytest.raises(NotFinite, match=r"gradients of step 2 are not finite \(its loss: nan\)"):
        ruined.train(ruined.batches(feed(training_data(np.nan))), 3)
    assert ruined.step == 1 and NotFinite.exit_code == 3
    for one, other in zip(clean.model.get_weights(), ruined.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_last_good_checkpoint_is_named(tmp_path):
    steps = anew()
    checkpoints = Checkpoints(str(tmp_path))
    trainer = loop.Trainer(steps, loop.Plan(4, 4, 1, 1, 1), [], checkpoints=checkpoints)
    with pytest.raises(NotFinite, match=f"Last good checkpoint: step 1 in {tmp_path}"):
        trainer.fit(feed(training_data(np.inf)))


def test_a_skipped_step_counts_as_a_step_and_is_counted():
    steps = small(skip_nonfinite=True, ema=0.9)
    iterator = steps.batches(feed(training_data(np.nan)))
    first = steps.train(iterator, 1)
    before = steps.model.get_weights()
    second = steps.train(iterator, 1)
    assert (first["skipped"], second["skipped"], steps.skipped, steps.step) == (0, 1, 1, 2)
    assert np.isnan(second["loss"])
    for one, other in zip(before, steps.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    rest = steps.train(iterator, 2)
    assert np.isfinite(rest["loss"]) and steps.step == 4 and steps.skipped == 1


def test_skipped_steps_do_not_spoil_the_means():
    steps = anew(skip_nonfinite=True)
    history = keras.callbacks.History()
    loop.Trainer(steps, loop.Plan(4, 4, 1, 1), [history]).fit(feed(training_data(np.nan)))
    assert history.history["skipped"] == [0.25] and np.isfinite(history.history["loss"][0])
    together = anew(skip_nonfinite=True)
    other = keras.callbacks.History()
    loop.Trainer(together, loop.Plan(4, 4, 4, 4), [other]).fit(feed(training_data(np.nan)))
    assert other.history["loss"][0] == pytest.approx(history.history["loss"][0], rel=1e-6)


def test_the_loss_scale_halves_on_overflow_and_grows_after_a_while():
    scale = LossScale(tf.distribute.get_strategy())
    scale.update(tf.constant(False))
    assert scale.value.numpy() == LossScale.INITIAL / 2
    scale.finite_steps.assign(LossScale.GROWS_AFTER - 2)
    scale.update(tf.constant(True))
    assert scale.value.numpy() == LossScale.INITIAL / 2
    scale.update(tf.constant(True))
    assert (scale.value.numpy(), scale.finite_steps.numpy()) == (LossScale.INITIAL, 0)
    for _ in range(40):
        scale.update(tf.constant(False))
    assert scale.value.numpy() == LossScale.SMALLEST and scale.exhausted


def test_float16_scales_the_loss_and_leaves_overflowing_steps_out():
    steps = anew(dtype="mixed_float16")
    steps._scale.value.assign(2.0**24)
    iterator = steps.batches(feed(dataset().repeat()))
    logs = [steps.train(iterator, 1) for _ in range(30)]
    assert logs[0]["skipped"] == 1 and logs[0]["loss_scale"] == 2.0**23
    assert logs[-1]["skipped"] == 0 and logs[-1]["loss"] < 1.2 and 1 < logs[-1]["loss_scale"] < 2.0**23
    assert steps.step == 30 and all(variable.dtype == "float32" for variable in steps.model.weights)


def test_float16_stops_where_no_scale_helps():
    """Weights of the rows so large that gradients overflow under every scale, but not the loss, which is in float32."""
    steps = anew(dtype="mixed_float16")
    steps._scale.value.assign(4.0)
    heavy = dataset().map(lambda batch: {**batch, "weights": batch["weights"] * 1e30}).repeat()
    with pytest.raises(NotFinite):
        steps.train(steps.batches(feed(heavy)), 10)
    assert steps.skipped == 2 and steps.step == 2


def test_float16_stops_at_once_where_the_loss_itself_is_not_finite():
    steps = anew(dtype="mixed_float16")
    with pytest.raises(NotFinite, match="its loss: nan"):
        steps.train(steps.batches(feed(training_data(np.nan).skip(1))), 2)
    assert steps.skipped == 0 and steps.step == 0


def test_scaled_gradients_are_those_of_the_loss():
    """In float16 the scale keeps small gradients; reduced, divided by it, they have the norm of those in float32."""
    norms = []
    for dtype in ("float32", "mixed_float16"):
        steps = anew(dtype=dtype)
        if steps._scale:
            steps._scale.value.assign(2.0**10)
        norms.append(steps.train(steps.batches(feed(dataset())), 1)["gradient_norm"])
    assert norms[1] == pytest.approx(norms[0], rel=5e-3)


def test_the_state_is_complete_and_another_models_is_refused():
    one = small(ema=0.9)
    one.train(one.batches(feed(dataset().repeat())), 3)
    state = one.state()
    other = small(ema=0.9)
    other.restore(state)
    results = []
    for steps in (one, other):
        batches = dataset().repeat().skip(3)
        steps.train(steps.batches(feed(batches)), 2)
        results.append(steps.state())
    for part in results[0]:
        for name, value in results[0][part].items():
            np.testing.assert_array_equal(value, results[1][part][name], err_msg=name)
    with pytest.raises(ValueError, match="averages"):
        small().restore({**state, "averages": state["averages"]} | {"weights": state["weights"]})
    with pytest.raises(ValueError, match="weights"):
        other.restore({**state, "weights": {}})


def late(weights):
    time.sleep(0.2)
    return weights


def slow(batch):
    weights = batch["weights"]
    return batch | {"weights": tf.ensure_shape(tf.numpy_function(late, [weights], tf.float32), weights.shape)}


def test_the_share_of_time_spent_waiting_for_input():
    """Whatever else the machine does: more of it where batches take a while than where updates do."""
    feeds = {"batches": feed(dataset().map(slow)), "updates": feed(dataset().cache().repeat())}
    objectives = {"batches": Softmax(3), "updates": lambda model, batch, training=False: Softmax(3)(model, slow(batch))}
    shares = {}
    for name in feeds:
        steps = small(objectives[name])
        shares[name] = steps.train(steps.batches(feeds[name]), 4)["input_wait"]
    assert 0 <= shares["updates"] < shares["batches"] <= 1


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (lambda: keras.callbacks.SwapEMAWeights(), "--ema"),
        (lambda: keras.callbacks.BackupAndRestore("folder"), "checkpoints"),
        (lambda: keras.callbacks.ReduceLROnPlateau("loss"), "schedule"),
        (lambda: keras.callbacks.LearningRateScheduler(lambda epoch: 0.1), "schedule"),
    ],
)
def test_callbacks_that_contradict_the_engine_are_refused(callback, reason):
    steps = small()
    steps.optimizer._learning_rate = optimization.WarmupSchedule("cosine", 0.1, 10)
    with pytest.raises(ValueError, match=reason):
        loop.Trainer(steps, loop.Plan(4, 2, 2, 2), [callback()])


def test_reduce_on_plateau_works_on_a_plain_rate():
    steps = small()
    before = float(steps.optimizer.learning_rate.numpy())
    reduce = keras.callbacks.ReduceLROnPlateau("loss", mode="min", patience=1, min_delta=9.0, factor=0.5)
    loop.Trainer(steps, loop.Plan(6, 1, 1, 1), [reduce]).fit(feed(dataset().repeat()))
    assert float(steps.optimizer.learning_rate.numpy()) < before
