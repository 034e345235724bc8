"""`--distribution=multi_worker` through the command line: two processes, one run folder, and what may befall them."""

import json
import os
import pathlib
import shutil
import signal
import time

import keras
import numpy as np
import processes
import pytest

from trainers import pretrain

FLAGS = {
    "source": "synthetic",
    "variant": "mu/16",
    "image_size": 32,
    "batch_size": 16,
    "steps": 6,
    "evaluate_every": 3,
    "log_every": 3,
    "ema": 0.9,
    "clip_norm": 0.1,
}
# Long enough to be interrupted.
LONG = {**FLAGS, "steps": 4000, "evaluate_every": 1000, "checkpoint_every": 20, "steps_per_call": 5}

pytestmark = pytest.mark.slow


def start_workers(flags, run_dir):
    return [processes.start_pretrain({**flags, "run_dir": run_dir}, each) for each in processes.cluster(2)]


def finish(workers, timeout=300):
    """Exit codes and what was said on stdout and stderr."""
    outputs = [worker.communicate(timeout=timeout) for worker in workers]
    return [worker.returncode for worker in workers], [out for out, _ in outputs], [err for _, err in outputs]


def wait_for_checkpoint(run_dir, workers, after=0):
    """Until there is a checkpoint of a later step; returns its step."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        steps = [int(path.parent.name[5:]) for path in pathlib.Path(run_dir).glob("checkpoint/step_*/complete.json")]
        if max(steps, default=0) > after:
            return max(steps)
        assert all(worker.poll() is None for worker in workers), finish(workers)
        time.sleep(0.1)
    raise AssertionError("no checkpoint")


def assert_close(model, reference):
    for variable, expected in zip(model.weights, reference.weights, strict=True):
        if not variable.path.endswith("key/bias"):  # no true gradient: Adam steps on rounding noise
            assert np.abs(variable.numpy() - expected.numpy()).max() <= 1e-5 * np.abs(expected.numpy()).max(), (
                variable.path
            )


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The same run in one process."""
    run_dir = str(tmp_path_factory.mktemp("one") / "run")
    return pretrain.run(pretrain.Settings(**FLAGS, run_dir=run_dir, distribution="one_device"))


def test_two_workers_write_one_folder_with_the_weights_of_one_process(tmp_path, one):
    codes, out, err = finish(start_workers(FLAGS, tmp_path / "two"))
    assert codes == [0, 0], err
    assert "8 on each of 2 replicas" in out[0]
    assert not out[1], "only the chief speaks"
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert results["test_accuracy"] == pytest.approx(one.metrics["test_accuracy"], abs=1e-6)
    assert_close(keras.models.load_model(tmp_path / "two" / "model.keras"), one.model)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of two workers, one of which was asked to stop."""
    run_dir = tmp_path_factory.mktemp("stopped") / "run"
    workers = start_workers(LONG, run_dir)
    wait_for_checkpoint(run_dir, workers)
    workers[1].send_signal(signal.SIGTERM)
    codes, _, err = finish(workers)
    assert codes == [75, 75], err
    assert all("preempted: stopped after step" in said for said in err)
    return run_dir


def newest(run_dir):
    return max(int(path.parent.name[5:]) for path in pathlib.Path(run_dir).glob("checkpoint/step_*/complete.json"))


def test_asked_to_stop_all_leave_after_one_checkpoint_and_go_on_together(stopped, tmp_path):
    run_dir = shutil.copytree(stopped, tmp_path / "run")
    before = newest(run_dir)
    workers = start_workers(LONG, run_dir)
    wait_for_checkpoint(run_dir, workers, after=before)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    codes, out, err = finish(workers)
    assert codes == [75, 75], err
    assert f"resumes from step {before:,} of" in out[0]


@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_worker_dies_the_other_stops_and_says_so(stopped, tmp_path, victim):
    run_dir = shutil.copytree(stopped, tmp_path / "run")
    workers = start_workers(LONG, run_dir)
    wait_for_checkpoint(run_dir, workers, after=newest(run_dir))
    workers[victim].kill()
    begin = time.monotonic()
    _, err = workers[1 - victim].communicate(timeout=120)
    workers[victim].communicate()
    assert workers[1 - victim].returncode == 4, err[-2000:]
    assert "error: A worker was lost" in err and "start them again" in err
    print(f"noticed after {time.monotonic() - begin:.1f} s")


@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_worker_hangs_the_other_stops_within_the_timeout(stopped, tmp_path, victim):
    run_dir = shutil.copytree(stopped, tmp_path / "run")
    workers = start_workers({**LONG, "worker_timeout": 5}, run_dir)
    wait_for_checkpoint(run_dir, workers, after=newest(run_dir))
    os.kill(workers[victim].pid, signal.SIGSTOP)
    try:
        _, err = workers[1 - victim].communicate(timeout=120)
    finally:
        workers[victim].kill()
        workers[victim].communicate()
    assert workers[1 - victim].returncode == 4, err[-2000:]
    assert "lost" in err or "No answer from another worker" in err


def test_a_run_of_two_workers_goes_on_in_one_process(tmp_path, one):
    """And the other way round; with dropout off the number of workers does not matter."""
    run_dir = tmp_path / "run"
    workers = start_workers({**FLAGS, "checkpoint_every": 3, "steps_per_call": 1}, run_dir)
    wait_for_checkpoint(run_dir, workers)
    for worker in workers:
        worker.kill()
    finish(workers)
    (run_dir / "results.json").unlink(missing_ok=True)
    shutil.rmtree(run_dir / "checkpoint" / "step_00000006", ignore_errors=True)
    result = pretrain.run(pretrain.Settings(**FLAGS, run_dir=str(run_dir), resume="require", distribution="one_device"))
    assert_close(result.model, one.model)

    one_dir = tmp_path / "other"
    shutil.copytree(one.run_dir, one_dir)
    (one_dir / "results.json").unlink()
    shutil.rmtree(one_dir / "checkpoint" / "step_00000006")
    codes, out, err = finish(start_workers({**FLAGS, "resume": "require"}, one_dir))
    assert codes == [0, 0], err
    assert "resumes from step 3 of 6" in out[0]
    assert_close(keras.models.load_model(one_dir / "model.keras"), one.model)
