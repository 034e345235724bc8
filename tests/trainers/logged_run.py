"""Notes which examples a run reads: a command as a process that does, and what a test patches in for one of its own.

As a process: `python -m tests.trainers.logged_run trainers.pretrain --FLAG ...`. The environment names the
file, IDS, and may name a batch, KILL, at which the process kills itself as by kill -9.
"""

import os
import pathlib
import runpy
import signal
import sys

import tensorflow as tf

from trainers.data.pipeline import TrainingData


def logged(batches, log, kill=None):
    """`TrainingData.batches` that appends the number and the ids of every batch it makes to a file.

    Args:
        batches: The method as it is.
        log: The file.
        kill: Number of the batch at which the process ends without a word.
    """

    def write(number, ids):
        with pathlib.Path(log).open("a") as file:
            file.write(f"{number} {' '.join(map(str, ids))}\n")
        if number == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return ids

    def note(number, batch):
        ids = tf.numpy_function(write, [number, batch["ids"]], tf.int64)
        return batch | {"ids": tf.ensure_shape(ids, batch["ids"].shape)}

    def noted(self, start_step=0, *share):
        return batches(self, start_step, *share).enumerate(start_step).map(note)

    return noted


def read(log):
    """{step: ids} of a process; batches that were read twice must be the same."""
    ids_by_step = {}
    for line in pathlib.Path(log).read_text().splitlines():
        step, *ids = map(int, line.split())
        assert ids_by_step.setdefault(step, ids) == ids, step
    return ids_by_step


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    TrainingData.batches = logged(TrainingData.batches, os.environ["IDS"], int(os.environ.get("KILL", -1)))
    runpy.run_module(sys.argv[0], run_name="__main__")
