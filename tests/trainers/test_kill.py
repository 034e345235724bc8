"""kill -9 at random moments, as real processes: the end is that of a run that nobody killed."""

import pathlib
import random
import shutil
import time

import keras
import numpy as np
import processes
import pytest
from runs import assert_same_values, results, rows, values

import keras_vit  # noqa: F401  makes its layers known to load_model

FLAGS = {
    "source": "synthetic",
    "variant": "mu/16",
    "image_size": 32,
    "batch_size": 32,
    "steps": 800,
    "evaluate_every": 100,
    "checkpoint_every": 15,
    "log_every": 10,
    "steps_per_call": 5,
    "dropout": 0.1,
    "stochastic_depth": 0.1,
    "ema": 0.99,
    "warmup_steps": 40,
    "weight_decay": 0.1,
    "early_stopping": 40,
    "xla": True,
}
KILLS = 10

pytestmark = pytest.mark.slow


def assert_same(run_dir, whole):
    one, other = (values(keras.models.load_model(pathlib.Path(path) / "model.keras")) for path in (run_dir, whole))
    assert_same_values(one, other)
    assert rows(run_dir) == rows(whole) and results(run_dir) == results(whole)
    assert [int(row["step"]) for row in rows(run_dir)] == list(range(10, FLAGS["steps"] + 1, 10))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    process = processes.start_pretrain({**FLAGS, "run_dir": run_dir})
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]
    return run_dir


def published(run_dir):
    return sorted(path.parent.name for path in pathlib.Path(run_dir).glob("checkpoint/step_*/complete.json"))


def test_killed_ten_times_at_random_it_ends_the_same(whole, tmp_path):
    run_dir, dice, survived = tmp_path / "run", random.Random(0), []
    for _ in range(KILLS):
        process = processes.start_pretrain({**FLAGS, "run_dir": run_dir})
        before, end = published(run_dir), time.monotonic() + 240
        while published(run_dir) == before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(dice.uniform(0, 0.5))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -9, errors[-2000:]
        assert "warning" not in errors, errors  # nothing was found damaged
        survived.append(published(run_dir)[-1])
    assert survived == sorted(survived) and len(set(survived)) > KILLS // 2
    process = processes.start_pretrain({**FLAGS, "run_dir": run_dir})
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]
    assert "resumes from step" in output
    print(f"killed with {', '.join(survived)} as the newest")
    assert_same(run_dir, whole)


def test_a_limit_on_file_size_leaves_the_last_checkpoint_valid(tmp_path):
    """As on a full disk the system refuses to write more; the run says so and goes on."""
    run_dir = tmp_path / "run"
    flags = {**FLAGS, "steps": 60, "run_dir": run_dir, "xla": False}
    code = (
        "import resource, runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "import trainers.engine.checkpoint as checkpoint\n"
        "write, count = checkpoint.write, [0]\n"
        "def limited(folder, *contents):\n"
        "    count[0] += 1\n"
        "    limit = 100_000 if count[0] == 2 else resource.RLIM_INFINITY\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "    write(folder, *contents)\n"
        "checkpoint.write = limited\n"
        "runpy.run_module('trainers.pretrain', run_name='__main__')\n"
    )
    arguments = [
        f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in flags.items()
    ]
    process = processes.start(["-c", code, "pretrain", *arguments])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    assert "warning: no checkpoint of step 30" in errors and "the last is of step 15" in errors, errors
    assert published(run_dir) == ["step_00000045", "step_00000060"]


@pytest.mark.parametrize("replicas", [2, 4])
def test_with_dropout_off_another_number_of_replicas_goes_on(replicas, tmp_path):
    flags = {**FLAGS, "steps": 60, "dropout": 0.0, "stochastic_depth": 0.0, "optimizer": "sgd", "xla": False}
    done = {}
    for name, changes in {"one": {}, "several": {"logical_cpus": replicas, "distribution": "mirrored"}}.items():
        run_dir = tmp_path / name
        if name == "several":
            shutil.copytree(tmp_path / "one", run_dir)
            (run_dir / "results.json").unlink()
            shutil.rmtree(run_dir / "checkpoint" / "step_00000060")
        process = processes.start_pretrain({**flags, "run_dir": run_dir, **changes})
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-2000:]
        assert ("resumes from step 45" in output) == (name == "several")
        done[name] = keras.models.load_model(run_dir / "model.keras")
    for several, one in zip(done["several"].weights, done["one"].weights, strict=True):
        assert np.abs(several.numpy() - one.numpy()).max() <= 1e-5 * max(np.abs(one.numpy()).max(), 1e-3), several.path
