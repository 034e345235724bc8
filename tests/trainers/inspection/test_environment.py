"""The report on the environment."""

import os
import subprocess
import types

import pytest
import tensorflow as tf

from trainers import machine
from trainers.engine.tensorflow import runtime
from trainers.inspection import environment


def test_it_says_what_there_is():
    report = environment.report(None)
    assert report["versions"]["keras_vit"] and report["versions"]["backend"] == "tensorflow"
    assert report["devices"]["CPUs allowed"] == len(os.sched_getaffinity(0))
    assert 0 < report["devices"]["memory (GiB)"] < 10**5
    assert report["XLA"]["CPU"].startswith("works")
    assert report["precision"].keys() == runtime.PRECISIONS.keys()
    assert all(isinstance(free, float) and free >= 0 for free in report["disk"].values())
    said = environment.text(report)
    assert all(name in said for rows in report.values() for name in rows)


def test_precision_is_what_a_run_would_take():
    started = runtime.start("auto", "auto", 0, None, "local")
    assert environment.precision()["auto"].startswith(started.precision)


def test_a_compiler_that_fails_is_reported(monkeypatch):
    def fail(*_):
        raise tf.errors.InternalError(None, None, "no ptxas\nfound")

    monkeypatch.setattr(tf.nn, "gelu", fail)
    assert environment.xla() == {"CPU": "does not work: no ptxas"}
    assert "XLA" in environment.hints(hinted(XLA={"CPU": "does not work: no ptxas"}))


def test_gpus_of_the_driver(monkeypatch):
    said = "NVIDIA A100-SXM4-80GB, 81920, 40960, 550.54\nbroken line\nTesla T4, [N/A], 1, 2\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout=said))
    assert environment.drivers_gpus() == ["NVIDIA A100-SXM4-80GB, 80.0 GiB of which 40.0 are free, driver 550.54"]
    assert "driver's GPU 0" in environment.devices()


def hinted(**changes):
    sections = {
        "versions": {},
        "devices": {"GPUs that TensorFlow sees": 1, "GPU 0": "a GPU"},
        "XLA": {"CPU": "works"},
        "disk": {"runs, saved_models (GiB free)": 100.0},
    }
    return sections | {name: sections[name] | rows for name, rows in changes.items()}


@pytest.mark.parametrize(
    ("changes", "hint", "words"),
    [
        ({}, None, ""),
        ({"versions": {"tensorflow-tpu": "2.19.1"}}, "TPU", "TPU_SKIP_MDS_QUERY=1"),
        ({"devices": {"GPUs that TensorFlow sees": 0, "driver's GPU 0": "A100"}}, "GPU", "pip install"),
        ({"disk": {"cache, x (GiB free)": 1.0}}, "disk", "cache, x"),
        ({"disk": {"data sets, gs://x (GiB free)": "not known"}}, None, ""),
    ],
)
def test_hints(changes, hint, words, monkeypatch):
    monkeypatch.delenv("TPU_WORKER_HOSTNAMES", raising=False)
    hints = environment.hints(hinted(**changes))
    assert [*hints] == ([hint] if hint else []) and words in hints.get(hint, "")


def test_free_space_of_what_is_not_there_yet(tmp_path):
    assert machine.free_space(f"{tmp_path}/a/b/c") == machine.free_space(str(tmp_path))
