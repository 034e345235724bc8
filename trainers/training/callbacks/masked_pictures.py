"""What a model makes of masked patches, drawn at every evaluation."""

import os
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vit.analysis.masked_patches import pictures
from keras_vit.errors import reason
from trainers import files
from trainers.data.pipeline import EvaluationData
from trainers.data.source import Split
from trainers.engine.callbacks import step_of
from trainers.files import Unwritable
from trainers.run_dir import LOGS, PICTURES
from trainers.training.plan import Plan
from trainers.training.task import masked_objective

SIDE = 96  # pixels that images are enlarged towards, where they have fewer
BORDER = 2  # white pixels around each row


class MaskedPictures(keras.callbacks.Callback):
    """Draws the first validation images as they are, masked, and with the predicted colours.

    Each evaluation gives `pictures/step_N.png` in the run's folder, a row for each image, and the same in TensorBoard.
    An example is masked the same way every time, as in the evaluation itself. Only for the process that writes.

    Args:
        plan: The run.
        target: Target that is predicted of masked patches.
        split: Its validation split.
    """

    EXAMPLES = 8

    def __init__(self, plan: Plan, target: str, split: Split):
        super().__init__()
        self._objective = masked_objective(plan, target)
        self._data = EvaluationData(split, self.EXAMPLES, plan.preprocessing)
        run_dir = plan.settings.run_dir
        self._folder = os.path.join(run_dir, PICTURES)
        self._logs = os.path.join(run_dir, LOGS, PICTURES)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        batch = next(iter(self._data.batches()))
        readable = batch["weights"] > 0
        self._inputs = {name: tf.boolean_mask(batch[name], readable) for name in ("images", "ids")}
        self._summaries = tf.summary.create_file_writer(self._logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not len(self._inputs["ids"]):
            return
        step = step_of(self.model)
        drawn = pictures(self._inputs["images"], self.model(self._inputs, training=False), self._objective)
        try:
            self._write(step, drawn)
        except files.ERRORS as error:
            why = error if isinstance(error, Unwritable) else f"{self._folder} cannot be written: {reason(error)}."
            print(f"warning: no picture of step {step}: {why}", file=sys.stderr, flush=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._summaries.close()

    def _write(self, step: int, drawn: np.ndarray) -> None:
        png = tf.io.encode_png(sheet(drawn)).numpy()
        files.make_folder(self._folder)

        def write(path: str) -> None:
            with open(path, "wb") as file:
                file.write(png)

        files.replace_with(os.path.join(self._folder, f"step_{step:08d}.png"), write)
        with self._summaries.as_default(step=step):
            tf.summary.image("masked_patches", drawn, max_outputs=self.EXAMPLES)
        self._summaries.flush()


def sheet(drawn: np.ndarray) -> np.ndarray:
    """Rows of pictures (B, H, W, C) below one another, small ones enlarged: uint8 (h, w, C)."""
    factor = max(SIDE // drawn.shape[1], 1)
    enlarged = drawn.repeat(factor, axis=1).repeat(factor, axis=2)
    framed = np.pad(enlarged, ((0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)), constant_values=255)
    return framed.reshape(-1, *framed.shape[2:])
