"""Which examples a run reads, as real processes: killed and resumed, on several workers, from files, from records."""

import collections
import csv
import os
import pathlib
import random
import time

import numpy as np
import processes
import pytest
import tensorflow as tf

# Runs a command, and writes the step and the ids of every batch that its pipeline makes to the file IDS.
LOGGING = """
import os, runpy, sys
sys.argv = sys.argv[1:]
import tensorflow as tf
from trainers.data.pipeline import TrainingData
batches = TrainingData.batches
def logged(self, start_step=0, *share):
    def write(number, ids):
        with open(os.environ["IDS"], "a") as file:
            file.write(f"{number} {' '.join(map(str, ids))}\\n")
        return ids
    def log(number, batch):
        ids = tf.numpy_function(write, [number, batch["ids"]], tf.int64)
        return batch | {"ids": tf.ensure_shape(ids, batch["ids"].shape)}
    return batches(self, start_step, *share).enumerate(start_step).map(log)
TrainingData.batches = logged
runpy.run_module(sys.argv[0], run_name="__main__")
"""
SIZE, TEST = 301, 37
FLAGS = {
    "variant": "mu/8",
    "image_size": 16,
    "batch_size": 16,
    "steps": 120,  # an epoch of 301 examples ends within step 19
    "evaluate_every": 50,
    "checkpoint_every": 7,
    "log_every": 5,
    "steps_per_call": 5,
    "augment": "inception",
    "flip": True,
    "validation_split": "test",
    "test_split": "none",
    "on_bad_image": "skip",
    "max_bad_share": 0.05,
    "cache": "none",
}
BAD = ("train/1/11.png", "train/0/150.png")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same pictures as a folder, two of them bad, and as records, from which those two are left out."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for split, size in (("train", SIZE), ("test", TEST)):
        for number in range(size):
            path = folder / split / str(number % 5) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(generator.integers(0, 256, (20, 24, 3)).astype("uint8")).numpy())
    for name in BAD:
        (folder / name).write_bytes(b"<html>no such picture</html>")
    records = folder.parent / "records"
    process = processes.start(
        ["-m", "trainers.prepare", f"--source=folder:{folder}", f"--output={records}", "--on_bad_image=skip",
         "--max_bad_share=0.05"]
    )  # fmt: skip
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return {"folder": f"folder:{folder}", "tfrecord": f"tfrecord:{records}"}


def start(flags, log, environment=None):
    arguments = [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in flags.items()
    ]
    environment = {**(environment or {}), "IDS": str(log)}
    return processes.start(["-c", LOGGING, "trainers.pretrain", *arguments], environment)


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return output


def read_log(log):
    """{step: ids} of a process; batches that were read twice must be the same."""
    found = {}
    for line in log.read_text().splitlines():
        step, *ids = map(int, line.split())
        assert found.setdefault(step, ids) == ids, step
    return found


def rows(run_dir):
    with (pathlib.Path(run_dir) / "metrics.csv").open() as file:
        return [(row["step"], row["loss"], row["val_loss"]) for row in csv.DictReader(file)]


def newest(run_dir):
    """Step of the newest whole checkpoint, or 0."""
    return max((int(path.parent.name[5:]) for path in run_dir.glob("checkpoint/step_*/complete.json")), default=0)


@pytest.mark.parametrize("kind", ["folder", "tfrecord"])
def test_killed_in_mid_epoch_it_reads_the_same_examples_in_the_same_order(kind, sources, tmp_path):
    flags = {**FLAGS, "source": sources[kind]}
    finish(start({**flags, "run_dir": tmp_path / "whole"}, tmp_path / "whole.ids"))
    whole = read_log(tmp_path / "whole.ids")
    run_dir, log, dice, kills = tmp_path / "run", tmp_path / "run.ids", random.Random(1), []
    for _ in range(3):
        process, before, end = start({**flags, "run_dir": run_dir}, log), newest(run_dir), time.monotonic() + 120
        while newest(run_dir) <= before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(dice.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert process.returncode == -9
        kills.append(newest(run_dir))
    output = finish(start({**flags, "run_dir": run_dir}, log))
    resumed = read_log(log)
    assert 0 < kills[0] < kills[1] < kills[2]
    print(f"{kind}: killed with checkpoints of steps {kills}; {len(resumed)} batches compared")
    assert "resumes from step" in output
    assert all(resumed[step] == whole[step] for step in range(FLAGS["steps"]))
    assert rows(run_dir) == rows(tmp_path / "whole")
    size = SIZE - 2 * (kind == "tfrecord")
    sequence = [i for step in range(FLAGS["steps"]) for i in whole[step]]
    assert sorted(sequence[:size]) == sorted(sequence[size : 2 * size]) == list(range(size))
    bad = run_dir / "bad_images.csv"
    assert bad.exists() == (kind == "folder")
    if kind == "folder":
        assert [os.path.join(*row[1].split("/")[-3:]) for row in csv.reader(bad.open())][1:] == sorted(BAD)


@pytest.mark.parametrize("kind", ["folder", "tfrecord"])
def test_two_workers_share_every_epoch_without_gap_or_repetition(kind, sources, tmp_path):
    flags = {**FLAGS, "source": sources[kind], "steps": 40}
    finish(start({**flags, "run_dir": tmp_path / "one"}, tmp_path / "one.ids"))
    whole = read_log(tmp_path / "one.ids")
    logs = [tmp_path / "two.0.ids", tmp_path / "two.1.ids"]
    workers = [
        start({**flags, "run_dir": tmp_path / "two"}, log, environment)
        for log, environment in zip(logs, processes.cluster(2), strict=True)
    ]
    for worker in workers:
        finish(worker)
    halves = [read_log(log) for log in logs]
    assert all(half[step] for half in halves for step in range(40))
    assert all(halves[0][step] + halves[1][step] == whole[step] for step in range(40))
    size = SIZE - 2 * (kind == "tfrecord")
    counts = collections.Counter(i for half in halves for step in range(40) for i in half[step])
    epochs = 40 * 16 / size
    assert len(counts) == size and set(counts.values()) <= {int(epochs), int(epochs) + 1}
    if kind == "folder":  # whichever worker met them, the chief lists them
        listed = [row[1] for row in csv.reader((tmp_path / "two" / "bad_images.csv").open())]
        assert len(listed) == 3


def test_a_bad_image_that_one_worker_meets_ends_both_by_name(sources, tmp_path):
    flags = {**FLAGS, "source": sources["folder"], "on_bad_image": "fail", "run_dir": tmp_path / "run"}
    workers = [start(flags, tmp_path / "ids", environment) for environment in processes.cluster(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 2, errors[-2000:]
        assert "cannot be read" in errors and "it looks like HTML" in errors, errors
