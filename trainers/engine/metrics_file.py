"""metrics.csv: what a run measured, one row per interval; TensorBoard gets the same numbers."""

import csv
import io
import sys
import time
from collections.abc import Mapping

import keras

from keras_vit.errors import reason
from trainers import files
from trainers.engine.callbacks import learning_rate_of, step_of, updates_behind
from trainers.engine.protocols import Runtime


class MetricsFile(keras.callbacks.Callback):
    """Writes a row of means every `log_every` updates, and at evaluations.

    Columns: step, examples, loss, learning_rate (of the last update), gradient_norm (before clipping), the metrics and
    their `val_` counterparts, weight_norm, input_wait (share of time spent waiting for batches), skipped (share of
    updates left out), loss_scale, memory_gib (peak of the fullest GPU, or else of this process), seconds since training
    began, not counting interruptions, and images_per_second.

    Args:
        path: The CSV file; any that tf.io.gfile writes.
        runtime: Runtime, which measures weights and memory.
        batch_size: Global batch size.
        log_every: Updates per row.
        metrics: Names of the objective's metrics, e.g. `loss` and `accuracy`.
        summaries: Folder of TensorBoard event files, or None for none.
    """

    def __init__(self, path, runtime: Runtime, *, batch_size, log_every, metrics, summaries=None):
        super().__init__()
        self.path = str(path)
        self.runtime = runtime
        self.batch_size = batch_size
        self.log_every = log_every
        others = [name for name in metrics if name != "loss"]
        self.columns = [
            *("step", "examples", "loss", "learning_rate", "gradient_norm", *others, "val_loss"),
            *(f"val_{name}" for name in others),
            *("weight_norm", "input_wait", "skipped", "loss_scale", "memory_gib", "seconds", "images_per_second"),
        ]
        self._summaries = files.Summaries(str(summaries)) if summaries else None

    def on_train_begin(self, logs=None):
        self._lines = [self._line(dict(zip(self.columns, self.columns, strict=True)))]
        self._written = 0
        self._write()
        self._begin = self._row_begin = time.perf_counter()
        self._last = self._row_first = step_of(self.model)
        self._sums: dict[str, tuple[float, int]] = {}
        self._row: dict[str, float] = {}

    def on_train_batch_end(self, batch, logs=None):
        step = step_of(self.model)
        logs = logs or {}
        for name, value in logs.items():
            if updates := updates_behind(name, logs, step - self._last):
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value * updates, count + updates)
        self._last = step
        if step % self.log_every == 0:
            self._close_row()

    def on_epoch_end(self, epoch, logs=None):
        if self._last > self._row_first:
            self._close_row()
        self._row |= {name: value for name, value in (logs or {}).items() if name.startswith("val_")}

    def on_train_end(self, logs=None):
        self._flush_row()

    def get_state(self):
        now = time.perf_counter()
        return {
            "lines": list(self._lines),
            "sums": dict(self._sums),
            "row": dict(self._row),
            "row_first": self._row_first,
            "seconds": now - self._begin,
            "row_seconds": now - self._row_begin,
        }

    def set_state(self, state):
        """Cuts the file back to what it was at that state."""
        now = time.perf_counter()
        self._lines = state["lines"]
        self._sums = {name: (total, count) for name, (total, count) in state["sums"].items()}
        self._row = state["row"]
        self._row_first = state["row_first"]
        self._begin, self._row_begin = now - state["seconds"], now - state["row_seconds"]
        self._written = 0
        self._write()

    def _close_row(self):
        """A row waits for the next one to begin, so that an evaluation at its step can still join it."""
        self._flush_row()
        now, updates = time.perf_counter(), self._last - self._row_first
        self._row = {name: total / count for name, (total, count) in self._sums.items()}
        self._row |= {
            "step": self._last,
            "examples": self._last * self.batch_size,
            "learning_rate": learning_rate_of(self.model),
            "weight_norm": self.runtime.weight_norm(self.model),
            "memory_gib": round(self.runtime.peak_memory(), 3),
            "seconds": round(now - self._begin, 3),
            "images_per_second": round(updates * self.batch_size / (now - self._row_begin), 1),
        }
        self._sums, self._row_begin, self._row_first = {}, now, self._last

    def _flush_row(self):
        if self._row:
            self._lines.append(self._line(self._row))
            self._write()
            self._summarise()
            self._row = {}

    def _write(self):
        """Brings the file up to the lines, as soon as it can be written: checkpoints hold them too."""
        try:
            if self._written:
                with files.opened(self.path, "a") as file:
                    file.write("".join(self._lines[self._written :]))
            else:
                files.write_anew(self.path, "".join(self._lines))
            self._written = len(self._lines)
        except files.ERRORS as error:
            self._written = 0  # nobody knows what is there; next time all of it
            print(f"warning: {self.path} cannot be written now ({reason(error)}).", file=sys.stderr, flush=True)

    def _summarise(self):
        if self._summaries is None:
            return
        try:
            self._summaries.write(int(self._row["step"]), self._row)
        except files.ERRORS as error:
            print(f"warning: TensorBoard's files cannot be written now ({reason(error)}).", file=sys.stderr, flush=True)

    def _line(self, row: Mapping) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore", lineterminator="\n").writerow(row)
        return text.getvalue()
