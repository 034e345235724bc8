"""Our Keras callbacks: those that checkpoints remember, and progress that a person can read.

They also run under `fit`, but the step count and the learning rate come from `model.optimizer`.
"""

import math
import sys
import time

import keras
import numpy as np
from keras import ops
from tqdm import tqdm


def step_of(model) -> int:
    return int(model.optimizer.iterations.numpy())


def learning_rate_of(model) -> float:
    """The rate that the last update used."""
    rate = model.optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(max(step_of(model) - 1, 0))
    return float(ops.convert_to_numpy(rate))


def updates_behind(name: str, logs: dict[str, float], count: int) -> int:
    """Of how many of `count` updates a mean in their logs is one: updates that were left out have no loss."""
    if name in ("input_wait", "skipped", "loss_scale"):
        return count
    return count - round(logs.get("skipped", 0.0) * count)


def remembers(callback) -> bool:
    """Whether checkpoints hold what a callback remembers."""
    return hasattr(callback, "get_state") or _remembered(callback) is not None


def state_of(callback):
    """What a callback remembers, as a tree of plain values and NumPy arrays."""
    if hasattr(callback, "get_state"):
        return callback.get_state()
    return {name: getattr(callback, name, None) for name in _remembered(callback)}


def give_back(callback, state) -> None:
    """Lets a callback remember again what `state_of` said."""
    if hasattr(callback, "set_state"):
        callback.set_state(state)
    else:
        for name, value in state.items():
            setattr(callback, name, value)


def _remembered(callback):
    return next(
        (names for kind, names in REMEMBERED.items() if isinstance(callback, getattr(keras.callbacks, kind))), None
    )


class Best(keras.callbacks.Callback):
    """Keeps a checkpoint of the best weights, as they were evaluated.

    Args:
        checkpoints: `Checkpoints` of the run.
        monitor: Name in the logs.
        mode: Value that is best, the `max` or the `min`.
    """

    def __init__(self, checkpoints, monitor="val_accuracy", mode="max"):
        super().__init__()
        self.checkpoints = checkpoints
        self.monitor = monitor
        self.mode = mode
        self.best = None

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get(self.monitor)
        if value is not None and (self.best is None or self._better(value)):
            self.best = value
            weights = {variable.path: np.array(variable.value.numpy()) for variable in self.model.weights}
            self.checkpoints.save_best(step_of(self.model), {"weights": weights, self.monitor: value})

    def _better(self, value):
        return value > self.best if self.mode == "max" else value < self.best

    def get_state(self):
        return {"best": self.best}

    def set_state(self, state):
        self.best = state["best"]


class Progress(keras.callbacks.Callback):
    """A bar with ETA on a terminal; elsewhere one line per evaluation, or every half minute.

    Args:
        total_steps: Length of training in updates.
        batch_size: Global batch size.
        stream: Stream to write to.
        metrics: Metrics of the objective, shown in training and evaluation.
    """

    SILENCE = 30.0
    # Share of the time spent waiting for batches from which on it is shown.
    SHOWN_WAIT = 0.01

    def __init__(self, total_steps, batch_size, stream=None, metrics=("loss", "accuracy")):
        super().__init__()
        self.total_steps = total_steps
        self.batch_size = batch_size
        self.stream = stream or sys.stderr
        self.shown = (*metrics, *(f"val_{name}" for name in metrics))
        self.bar = None

    def on_train_begin(self, logs=None):
        self._begin, self._first = time.perf_counter(), step_of(self.model)
        self._spoke = self._begin
        if self.stream.isatty():
            self.bar = tqdm(
                total=self.total_steps, initial=self._first, unit="step", file=self.stream, dynamic_ncols=True
            )

    def on_train_batch_end(self, batch, logs=None):
        step = step_of(self.model)
        if self.bar is not None:
            self.bar.set_postfix_str(self._facts(step, logs or {}), refresh=False)
            self.bar.update(step - self.bar.n)
        elif time.perf_counter() - self._spoke > self.SILENCE:
            self._say(step, logs or {})

    def on_epoch_end(self, epoch, logs=None):
        self._say(step_of(self.model), logs or {})

    def on_train_end(self, logs=None):
        if self.bar is not None:
            self.bar.close()

    def _say(self, step, logs):
        line = f"step {step}/{self.total_steps}  {self._facts(step, logs)}  {self._eta(step)}"
        if self.bar is not None:
            self.bar.write(line, file=self.stream)
        else:
            print(line, file=self.stream, flush=True)
        self._spoke = time.perf_counter()

    def _facts(self, step, logs):
        rate = (step - self._first) * self.batch_size / max(time.perf_counter() - self._begin, 1e-9)
        facts = [f"{name} {logs[name]:.4f}" for name in self.shown if name in logs]
        waited = logs.get("input_wait", 0.0)
        slow = [f"input wait {waited:.0%}"] if waited >= self.SHOWN_WAIT else []
        return "  ".join([*facts, f"lr {learning_rate_of(self.model):.2e}", f"{rate:,.0f} img/s", *slow])

    def _eta(self, step):
        done = step - self._first
        seconds = (time.perf_counter() - self._begin) / done * (self.total_steps - step) if done else math.nan
        return f"{seconds:.0f} s left" if seconds < 600 else f"{seconds / 60:.0f} min left"


# What Keras's own callbacks remember from one epoch to the next, beside their settings.
REMEMBERED = {
    "History": ("epoch", "history"),
    "EarlyStopping": ("wait", "best", "best_epoch", "stopped_epoch", "best_weights"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
    "ModelCheckpoint": ("best", "epochs_since_last_save"),
}
