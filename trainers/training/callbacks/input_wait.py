"""What to do about training that waits for its input."""

import math
import sys
import time
from typing import Any, TextIO

import keras
from tqdm import tqdm

from trainers import machine
from trainers.data import cache
from trainers.data.source import Split
from trainers.settings.data import DataSettings
from trainers.settings.training import TrainingSettings


class InputWait(keras.callbacks.Callback):
    """Says once what to change, if training spends more than a tenth of its time waiting for batches.

    Args:
        settings: Settings of a training command.
        split: Split that is trained on.
        stream: Stream to write to; stderr if left out.
    """

    TOLERATED = 0.1
    # So much is looked at together: start-up, a slow file or a busy moment is no reason to change anything.
    UPDATES = 100
    SECONDS = 30.0

    def __init__(self, settings: TrainingSettings, split: Split, stream: TextIO | None = None):
        super().__init__()
        self.settings = settings
        self.split = split
        self.stream = stream or sys.stderr

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._spoke = self._warm = False
        self._forget()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._first, self._begin = batch, time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._warm:  # in the first call the pipeline fills
            self._warm = True
            return
        seconds = time.perf_counter() - self._begin
        self._updates += batch - self._first + 1
        self._seconds += seconds
        self._waited += (logs or {}).get("input_wait", 0.0) * seconds
        if self._updates >= self.UPDATES and self._seconds >= self.SECONDS:
            share = self._waited / self._seconds
            if share > self.TOLERATED and not self._spoke:
                self._spoke = True
                tqdm.write(words(share, self._seconds, self.settings, self.split), file=self.stream)
            self._forget()

    def _forget(self) -> None:
        self._updates, self._seconds, self._waited = 0, 0.0, 0.0


def words(share: float, seconds: float, settings: TrainingSettings, split: Split) -> str:
    """The advice: what was seen, then a line for everything that would change it.

    Args:
        share: Share of the time, spent waiting for batches.
        seconds: The time.
        settings: Settings of a training command.
        split: Split that is trained on.
    """
    seen = f"advice: of the last {seconds:.0f} s, {share:.0%} went into waiting for input. Each of these makes it less:"
    advice = [cores(share), *(change(settings, split) for change in CHANGES.values())]
    return "\n".join([seen, *(f"  - {line}" for line in advice if line)])


def cores(share: float) -> str:
    """How many would do where they make batches and nothing else, as beside an accelerator."""
    cpus = machine.cpus()
    wanted = max(math.ceil(cpus / (1.0 - min(share, 0.99))), cpus + 1)
    return f"more CPU cores: this process may use {cpus}; about {wanted} would keep up if batches were all they made."


def memory(settings: DataSettings, split: Split) -> str | None:
    """Not for what is in memory already, of unknown size, or more than half of what this machine has."""
    room = 2**30 * (machine.memory() or 0.0)
    if split.encoded_bytes is None or cache.CACHES[settings.cache](split) or 2 * split.encoded_bytes > room:
        return None
    return (
        f"--cache=memory instead of {settings.cache}: the encoded images, {split.encoded_bytes / 2**30:.1f} GiB, would "
        "be read once."
    )


def records(settings: TrainingSettings, split: Split) -> str | None:
    """Only for files that are read one by one, each epoch anew."""
    kind = settings.source.partition(":")[0]
    if kind not in FILES or cache.CACHES[settings.cache](split):
        return None
    return (
        f"python -m trainers.prepare --source={settings.source} --output=DIR, then --source=tfrecord:DIR: a few large "
        f"files are read faster than {split.size:,}, above all from a network or bucket."
    )


def recipe(settings: TrainingSettings, split: Split) -> str | None:
    """What of the recipe takes time; named, but without it the run would be another."""
    parts = [f"--{name}={getattr(settings, name)}" for name in SLOW if getattr(settings, name)]
    parts += ["--antialias"] if settings.antialias else []
    return f"a cheaper recipe, which changes the result: less of {', '.join(parts)}." if parts else None


# Kinds of sources with a file for each image.
FILES = ("folder", "csv", "jsonl")
# Settings that, where set, take much of an image's time.
SLOW = ("randaugment_layers", "augment_layers", "color_jitter", "hue_jitter")
# Each says what to change, or None where that does not apply to a run.
CHANGES = {"memory": memory, "records": records, "recipe": recipe}
