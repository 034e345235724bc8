"""LAMB and Lion on two replicas train to the weights of one device, clipping active; other rules: test_matrix.py."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("matrix_run.py")
CASES = ["lamb-plain-1", "lion-plain-1"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each case left on one device and on two replicas: weights by path, and logs."""
    folder, found = tmp_path_factory.mktemp("replicas"), {}
    for distribution, logical_cpus in (("one_device", "1"), ("mirrored", "2")):
        command = [sys.executable, str(SCRIPT), f"{folder}/{distribution}.npz", distribution, logical_cpus, *CASES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found[distribution] = dict(np.load(folder / f"{distribution}.npz"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_replicas_train_to_the_weights_of_one_device(results, case):
    one, two = results["one_device"], results["mirrored"]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert one[f"{case}:log/gradient_norm"].min() > 0.5  # what the gradients are clipped to
    paths = [name for name in one if name.startswith(f"{case}:") and "log/" not in name]
    assert len(paths) == len([name for name in two if name.startswith(f"{case}:") and "log/" not in name]) > 30
    for path in paths:
        difference = np.abs(one[path] - two[path]).max()
        if path.endswith("key/bias"):  # no true gradient: both rules step on rounding noise
            assert difference <= 3e-3 * 12, path
        else:
            assert difference <= 1e-5 * np.abs(one[path]).max(), path
