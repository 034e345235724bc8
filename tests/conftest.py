"""Lets test modules import what they share, wherever pytest was started: `import reference`, `import oracle`."""

import importlib.abc
import importlib.util
import os
import pathlib
import sys

import hypothesis

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Before TensorFlow starts, here and in the processes that tests start: tensors here are too small to share out among
# threads.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# No test is about how long it takes, and a busy machine is no fault of anybody's.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

TESTS = pathlib.Path(__file__).parent
SHARED = {
    "reference": TESTS / "reference.py",
    "processes": TESTS / "processes.py",
    "runs": TESTS / "trainers" / "runs.py",
    "matrix_run": TESTS / "trainers" / "engine" / "matrix_run.py",
    "logged_run": TESTS / "trainers" / "logged_run.py",
    "oracle": TESTS / "keras_vit" / "oracle.py",
    "stub_server": TESTS / "serving" / "stub_server.py",
}


class SharedModules(importlib.abc.MetaPathFinder):
    """Finds them by file. With tests/ on sys.path the folder tests/keras_vit could pass for the package keras_vit."""

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_file_location(name, SHARED[name]) if name in SHARED else None


sys.meta_path.append(SharedModules())
