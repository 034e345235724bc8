"""Which examples a run reads, as real processes: killed and resumed, on several workers, from files, from records."""

import collections
import csv
import os
import random
import time

import logged_run
import numpy as np
import processes
import pytest
import tensorflow as tf
from runs import assert_same, rows

from trainers import prepare, pretrain
from trainers.data.pipeline import TrainingData

SIZE, TEST = 101, 37
FLAGS = {
    "variant": "mu/8",
    "depth": 1,
    "image_size": 16,
    "batch_size": 16,
    "steps": 120,  # an epoch of 101 examples ends within step 7
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
    "dropout": 0.1,
    "ema": 0.9,
}
BAD = ("train/1/11.png", "train/0/50.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures in a folder, two of them bad."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for split, size in (("train", SIZE), ("test", TEST)):
        for number in range(size):
            path = folder / split / str(number % 5) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(generator.integers(0, 256, (20, 24, 3)).astype("uint8")).numpy())
    for name in BAD:
        (folder / name).write_bytes(b"<html>no such picture</html>")
    return folder


@pytest.fixture(scope="module")
def sources(folder):
    """The same pictures as a folder and as records, from which the bad two are left out."""
    records = folder.parent / "records"
    prepare.run(
        prepare.Settings(source=f"folder:{folder}", output=str(records), on_bad_image="skip", max_bad_share=0.05)
    )
    return {"folder": f"folder:{folder}", "tfrecord": f"tfrecord:{records}"}


def start(flags, log, environment=None):
    arguments = [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in flags.items()
    ]
    environment = {**(environment or {}), "IDS": str(log)}
    return processes.start(["-m", "tests.trainers.logged_run", "trainers.pretrain", *arguments], environment)


def finish(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return output


def newest(run_dir):
    """Step of the newest whole checkpoint, or 0."""
    return max((int(path.parent.name[5:]) for path in run_dir.glob("checkpoint/step_*/complete.json")), default=0)


def assert_every_epoch_is_whole(whole, size):
    sequence = [i for step in sorted(whole) for i in whole[step]]
    assert sorted(sequence[:size]) == sorted(sequence[size : 2 * size]) == list(range(size))


def assert_bad_are_listed(run_dir):
    listed = [*csv.reader((run_dir / "bad_images.csv").read_text().splitlines())][1:]
    assert [os.path.join(*row[1].split("/")[-3:]) for row in listed] == sorted(BAD)


def test_killed_it_reads_on_in_the_same_order_and_ends_with_the_same_weights(folder, tmp_path, monkeypatch):
    """One kill -9 of a real process; the runs before and after it are this process's."""
    flags = {**FLAGS, "source": f"folder:{folder}", "steps": 30, "evaluate_every": 15, "validation_split": "none"}
    batches = TrainingData.batches

    def run(name):
        monkeypatch.setattr(TrainingData, "batches", logged_run.logged(batches, tmp_path / f"{name}.ids"))
        return pretrain.run(pretrain.Settings(**flags, run_dir=str(tmp_path / name)))

    process = start({**flags, "run_dir": tmp_path / "run"}, tmp_path / "run.ids", {"KILL": "24"})
    whole = run("whole")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -9, errors[-2000:]
    first = newest(tmp_path / "run")
    assert 0 < first <= 24 and not (tmp_path / "run" / "results.json").exists()
    resumed = run("run")
    read, after = (logged_run.read(tmp_path / f"{name}.ids") for name in ("whole", "run"))
    assert all(after[step] == read[step] for step in range(flags["steps"]))
    assert_same(resumed, whole)
    assert_every_epoch_is_whole(read, SIZE)
    assert_bad_are_listed(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "tfrecord"])
def test_killed_in_mid_epoch_it_reads_the_same_examples_in_the_same_order(kind, sources, tmp_path):
    flags = {**FLAGS, "source": sources[kind]}
    finish(start({**flags, "run_dir": tmp_path / "whole"}, tmp_path / "whole.ids"))
    whole = logged_run.read(tmp_path / "whole.ids")
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
    resumed = logged_run.read(log)
    assert 0 < kills[0] < kills[1] < kills[2]
    print(f"{kind}: killed with checkpoints of steps {kills}; {len(resumed)} batches compared")
    assert "resumes from step" in output
    assert all(resumed[step] == whole[step] for step in range(FLAGS["steps"]))
    assert rows(run_dir) == rows(tmp_path / "whole")
    assert_every_epoch_is_whole(whole, SIZE - 2 * (kind == "tfrecord"))
    assert (run_dir / "bad_images.csv").exists() == (kind == "folder")
    if kind == "folder":
        assert_bad_are_listed(run_dir)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "tfrecord"])
def test_two_workers_share_every_epoch_without_gap_or_repetition(kind, sources, tmp_path):
    flags = {**FLAGS, "source": sources[kind], "steps": 40}
    finish(start({**flags, "run_dir": tmp_path / "one"}, tmp_path / "one.ids"))
    whole = logged_run.read(tmp_path / "one.ids")
    logs = [tmp_path / "two.0.ids", tmp_path / "two.1.ids"]
    workers = [
        start({**flags, "run_dir": tmp_path / "two"}, log, environment)
        for log, environment in zip(logs, processes.cluster(2), strict=True)
    ]
    for worker in workers:
        finish(worker)
    halves = [logged_run.read(log) for log in logs]
    assert all(half[step] for half in halves for step in range(40))
    assert all(halves[0][step] + halves[1][step] == whole[step] for step in range(40))
    size = SIZE - 2 * (kind == "tfrecord")
    counts = collections.Counter(i for half in halves for step in range(40) for i in half[step])
    epochs = 40 * 16 / size
    assert len(counts) == size and set(counts.values()) <= {int(epochs), int(epochs) + 1}
    if kind == "folder":  # whichever worker met them, the chief lists them
        listed = [row[1] for row in csv.reader((tmp_path / "two" / "bad_images.csv").open())]
        assert len(listed) == 3


@pytest.mark.slow
def test_a_bad_image_that_one_worker_meets_ends_both_by_name(sources, tmp_path):
    flags = {**FLAGS, "source": sources["folder"], "on_bad_image": "fail", "run_dir": tmp_path / "run"}
    workers = [start(flags, tmp_path / "ids", environment) for environment in processes.cluster(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 2, errors[-2000:]
        assert "cannot be read" in errors and "it looks like HTML" in errors, errors
