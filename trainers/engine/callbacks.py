"""Our Keras callbacks: metrics.csv, and progress that a person can read.

They also run under `fit`, but the step count and the learning rate come from `model.optimizer`.
"""

import csv
import math
import pathlib
import sys
import time

import keras
from keras import ops
from tqdm import tqdm

COLUMNS = ("step", "examples", "loss", "learning_rate", "gradient_norm")


def step_of(model) -> int:
    return int(model.optimizer.iterations.numpy())


def learning_rate_of(model) -> float:
    """The rate that the last update used."""
    rate = model.optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(max(step_of(model) - 1, 0))
    return float(ops.convert_to_numpy(rate))


class MetricsFile(keras.callbacks.Callback):
    """Writes a row of means every `log_every` updates, and at evaluations.

    Args:
        path: The CSV file, begun anew.
        batch_size: Global batch size.
        log_every: Updates per row.
        metrics: Names of the objective's metrics beside the loss, e.g. `accuracy`; `val_` columns follow from them.
    """

    def __init__(self, path, *, batch_size, log_every, metrics=("accuracy",)):
        super().__init__()
        self.path = pathlib.Path(path)
        self.batch_size = batch_size
        self.log_every = log_every
        validation = [f"val_{name}" for name in ("loss", *metrics)]
        self.columns = [*COLUMNS, *metrics, *validation, "seconds", "images_per_second"]

    def on_train_begin(self, logs=None):
        self._write("w", dict(zip(self.columns, self.columns, strict=True)))
        self._begin = self._row_begin = time.perf_counter()
        self._first = self._row_first = step_of(self.model)
        self._sums: dict[str, float] = {}
        self._row: dict[str, float] = {}
        self._last = self._first

    def on_train_batch_end(self, batch, logs=None):
        step = step_of(self.model)
        for name, value in (logs or {}).items():
            self._sums[name] = self._sums.get(name, 0.0) + value * (step - self._last)
        self._last = step
        if step % self.log_every == 0:
            self._close_row()

    def on_epoch_end(self, epoch, logs=None):
        if self._last > self._row_first:
            self._close_row()
        self._row |= {name: value for name, value in (logs or {}).items() if name.startswith("val_")}

    def on_train_end(self, logs=None):
        self._flush_row()

    def _close_row(self):
        """A row waits for the next one to begin, so that an evaluation at its step can still join it."""
        self._flush_row()
        now, updates = time.perf_counter(), self._last - self._row_first
        self._row = {name: total / updates for name, total in self._sums.items()}
        self._row |= {
            "step": self._last,
            "examples": self._last * self.batch_size,
            "learning_rate": learning_rate_of(self.model),
            "seconds": round(now - self._begin, 3),
            "images_per_second": round(updates * self.batch_size / (now - self._row_begin), 1),
        }
        self._sums, self._row_begin, self._row_first = {}, now, self._last

    def _flush_row(self):
        if self._row:
            self._write("a", self._row)
            self._row = {}

    def _write(self, mode, row):
        with self.path.open(mode, newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, extrasaction="ignore").writerow(row)


class Progress(keras.callbacks.Callback):
    """A bar with ETA on a terminal; elsewhere one line per evaluation, or every half minute.

    Args:
        total_steps: Length of training in updates.
        batch_size: Global batch size.
        stream: Where to write.
    """

    SILENCE = 30.0

    def __init__(self, total_steps, batch_size, stream=None):
        super().__init__()
        self.total_steps = total_steps
        self.batch_size = batch_size
        self.stream = stream or sys.stderr
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
        shown = {name: logs[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in logs}
        facts = [f"{name} {value:.4f}" for name, value in shown.items()]
        return "  ".join([*facts, f"lr {learning_rate_of(self.model):.2e}", f"{rate:,.0f} img/s"])

    def _eta(self, step):
        done = step - self._first
        seconds = (time.perf_counter() - self._begin) / done * (self.total_steps - step) if done else math.nan
        return f"{seconds:.0f} s left" if seconds < 600 else f"{seconds / 60:.0f} min left"
