"""One device, several replicas and several processes train to the same weights: clipping active, averages and decay on,
an uneven last evaluation batch. The runs are real processes; see matrix_run.py."""

import pathlib
import subprocess
import sys

import matrix_run
import numpy as np
import processes
import pytest

from trainers.engine import runtime

SCRIPT = pathlib.Path(matrix_run.__file__)
RULES = ("adam", "adamw", "sgd")
CASES = [f"{rule}-{compiled}-{parts}" for rule in RULES for compiled in ("plain", "xla") for parts in (1, 4)]
# More rules, and learning from a teacher; on two replicas only.
FURTHER = ["lamb-plain-1", "lion-plain-1", "taught-xla-2"]
FLOAT16 = [f"float16-{compiled}-{parts}" for compiled in ("plain", "xla") for parts in (1, 4)]
# Each process takes its devices once, so it runs all its cases.
RUNS = {
    "one_device": ("one_device", 1, [*CASES, *FLOAT16, *FURTHER]),
    "mirrored x2": ("mirrored", 2, [*CASES, *FLOAT16, *FURTHER, "dropout-xla-1", "wrong-plain-1"]),
    "mirrored x4": ("mirrored", 4, [*CASES, *FLOAT16]),
    "multi_worker x2": ("multi_worker", 1, [*CASES, *FLOAT16, "dropout-xla-1"]),
}

# One case of each: in the fast lane.
CLAIMS = {"one_device": "adamw-plain-1", "mirrored x2": "adamw-plain-4", "multi_worker x2": "adamw-plain-1"}


def begun(folder, distribution, logical_cpus, cases):
    """The file of results, and the processes that write it."""
    output = folder / f"{distribution}{logical_cpus}.npz"
    environments = processes.cluster(2) if distribution == "multi_worker" else [{}]
    command = [SCRIPT, output, distribution, logical_cpus, *cases]
    return output, [processes.start(command, each) for each in environments]


def finished(output, started):
    for process in started:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors[-2000:]
    with np.load(output) as results:
        return dict(results)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    return {name: finished(*begun(folder, *arguments)) for name, arguments in RUNS.items()}


@pytest.fixture(scope="module")
def claims(tmp_path_factory):
    """Two replicas and two workers, and meanwhile one device in this process."""
    folder = tmp_path_factory.mktemp("claims")
    running = {name: begun(folder, *RUNS[name][:2], [CLAIMS[name]]) for name in CLAIMS if name != "one_device"}
    trained = matrix_run.train(CLAIMS["one_device"], runtime.start("one_device", "float32", 0))
    alone = {f"{CLAIMS['one_device']}:{name}": value for name, value in trained.items()}
    return {"one_device": alone} | {name: finished(*run) for name, run in running.items()}


def arrays_of(results, case, prefix=""):
    return {name.split(":")[1]: value for name, value in results.items() if name.startswith(f"{case}:{prefix}")}


@pytest.mark.parametrize("name", ["mirrored x2", "multi_worker x2"])
def test_two_replicas_and_two_workers_train_to_the_weights_of_one_device(claims, name):
    assert arrays_of(claims[name], CLAIMS[name])["log/gradient_norm"].min() > 0.5  # what it is clipped to
    assert_equal_to_one_device(claims, name, CLAIMS[name])


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [name for name in RUNS if name != "one_device"])
def test_replicas_train_to_the_weights_of_one_device(results, name, case):
    assert_equal_to_one_device(results, name, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", FURTHER)
def test_further_rules_and_a_teacher_on_two_replicas(results, case):
    logs = arrays_of(results["mirrored x2"], case, "log/")
    assert logs["log/gradient_norm"].min() > 0.5 or case.startswith("taught")
    assert ("log/agreement" in logs) == case.startswith("taught")
    assert_equal_to_one_device(results, "mirrored x2", case, case)


def assert_equal_to_one_device(results, name, case, beside=None):
    beside = beside or f"{case.split('-')[0]}-plain-1"
    reference, ours = arrays_of(results["one_device"], beside), arrays_of(results[name], case)
    assert int(results[name]["replicas"]) == {"mirrored x4": 4}.get(name, 2)
    assert ours.keys() == reference.keys()
    for path, expected in reference.items():
        difference = np.abs(ours[path] - expected).max()
        if path.endswith("key/bias"):  # no true gradient: Adam steps on rounding noise
            assert difference <= 3e-3 * 12, path
        else:
            assert difference <= 1e-5 * np.abs(expected).max(), path


@pytest.mark.slow
@pytest.mark.parametrize("case", FLOAT16)
@pytest.mark.parametrize("name", list(RUNS))
def test_float16_leaves_the_same_steps_out_everywhere(results, name, case):
    """One row of the third batch overflows, on one replica: all leave that update out. Else sums agree to 11 bits."""
    reference, ours = arrays_of(results["one_device"], "float16-plain-1"), arrays_of(results[name], case)
    for log in ("log/skipped", "log/loss_scale"):
        np.testing.assert_array_equal(ours[log], reference[log])
    np.testing.assert_allclose(ours["log/val_loss"], reference["log/val_loss"], rtol=1e-3)
    assert reference["log/skipped"].tolist() == [0.25, 0, 0] and reference["log/loss_scale"] == 2**11
    for path, expected in reference.items():
        if not path.startswith("log/") and not path.endswith("key/bias"):
            assert np.abs(ours[path] - expected).max() <= 1e-3 * np.abs(expected).max(), path


@pytest.mark.slow
def test_clipping_before_the_reduction_would_be_noticed(results):
    reference, wrong = (
        arrays_of(results["one_device"], "adamw-plain-1"),
        arrays_of(results["mirrored x2"], "wrong-plain-1"),
    )
    weights = [path for path in reference if "log/" not in path and not path.endswith("key/bias")]
    assert max(np.abs(wrong[path] - reference[path]).max() / np.abs(reference[path]).max() for path in weights) > 1e-3


@pytest.mark.slow
def test_clipping_was_active_and_evaluation_exact(results):
    for name in RUNS:
        logs = arrays_of(results[name], "adamw-plain-1", "log/")
        assert logs["log/gradient_norm"].min() > 0.5
        np.testing.assert_allclose(logs["log/val_accuracy"] * 37, np.round(logs["log/val_accuracy"] * 37), atol=1e-4)


@pytest.mark.slow
def test_replicas_and_workers_drop_alike_and_not_the_same_units(results):
    """The masks depend on the global replica: two replicas in one process draw those of two in two processes."""
    one, other = (arrays_of(results[name], "dropout-xla-1") for name in ("mirrored x2", "multi_worker x2"))
    for path, expected in one.items():
        if not path.endswith("key/bias"):
            assert np.abs(other[path] - expected).max() <= 1e-5 * np.abs(expected).max(), path


@pytest.mark.slow
def test_masks_differ_between_replicas(tmp_path):
    code = (
        "import sys, tensorflow as tf, numpy as np, keras\n"
        "from trainers.engine import runtime\n"
        "from trainers.engine.protocols import UpdateRule\n"
        "chosen = runtime.start('mirrored', 'float32', 0, 2)\n"
        "with chosen.placed():\n"
        "    model = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])\n"
        "    optimizer = keras.optimizers.SGD(0.0)\n"
        "    optimizer.build(model.trainable_variables)\n"
        "masks = {}\n"
        "def objective(model, batch, training=False):\n"
        "    dropped = model.layers[0](batch['images'], training=training)\n"
        "    loss = tf.reduce_sum(model(batch['images'], training=training), axis=1)\n"
        "    return loss, {'kept': (tf.reduce_sum(dropped), 1.0)}\n"
        "spec = {'images': tf.TensorSpec((2, 64)), 'weights': tf.TensorSpec((2,))}\n"
        "steps = chosen.steps(model, objective, optimizer, spec, UpdateRule(batch_size=2))\n"
        "@tf.function\n"
        "def draw():\n"
        "    def replica():\n"
        "        steps._set_seeds(0)\n"
        "        return model.layers[0](tf.ones((1, 64)), training=True)\n"
        "    return chosen.strategy.run(replica)\n"
        "first, second = chosen.strategy.experimental_local_results(draw())\n"
        "again = chosen.strategy.experimental_local_results(draw())[0]\n"
        "assert (first.numpy() == again.numpy()).all() and (first.numpy() != second.numpy()).any()\n"
        "optimizer.iterations.assign(1)\n"
        "later = chosen.strategy.experimental_local_results(draw())[0]\n"
        "assert (first.numpy() != later.numpy()).any()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
