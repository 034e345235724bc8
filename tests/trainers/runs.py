"""What tests of whole runs share: what a run left behind, but for what a clock measured, and how to disturb one."""

import csv
import io
import json
import os

import keras
import numpy as np

from trainers import files

OF_TIME = {"seconds", "images_per_second", "input_wait", "memory_gib"}


class At(keras.callbacks.Callback):
    """Does something once, after a given step or during the evaluation that follows it."""

    def __init__(self, step, action, event="on_train_batch_end"):
        super().__init__()
        self.step, self.action = step, action
        setattr(self, event, self._act)

    def _act(self, *arguments, **keywords):
        if self.model.optimizer.iterations.numpy() >= self.step:
            self.action()


def crash():
    raise SystemError("killed")


def timeless(row):
    return {name: value for name, value in row.items() if name not in OF_TIME}


def rows(run_dir):
    """metrics.csv, a dict per row."""
    return [*map(timeless, csv.DictReader(io.StringIO(files.read_text(os.path.join(run_dir, "metrics.csv")))))]


def results(run_dir):
    """results.json."""
    return timeless(json.loads(files.read_text(os.path.join(run_dir, "results.json"))))


def values(model):
    """Every weight by its path, those of seed generators included."""
    return {variable.path: np.asarray(variable.value) for variable in model.weights}


def assert_same_values(one, other):
    assert one.keys() == other.keys()
    for path, array in one.items():
        np.testing.assert_array_equal(array, other[path], err_msg=path)


def assert_same(result, whole):
    """Weights bit for bit, metrics, results and histories."""
    assert_same_values(values(result.model), values(whole.model))
    assert rows(result.run_dir) == rows(whole.run_dir)
    assert results(result.run_dir) == results(whole.run_dir)
    for name, history in whole.history.history.items():
        if name not in OF_TIME:
            assert result.history.history[name] == history, name
    assert result.history.epoch == whole.history.epoch
