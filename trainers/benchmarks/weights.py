"""What loading weights costs: a file of every format with the same random weights, each loaded by a fresh process."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np

import keras_vit
from keras_vit import weights
from trainers.engine.protocols import Runtime
from trainers.settings.benchmark import BenchmarkSettings

# Row -> format, and name of the file in its folder.
FILES = {
    "google": ("google", "w.npz"),
    "bigvision": ("bigvision", "w.npz"),
    "huggingface": ("huggingface", "w"),
    "timm": ("timm", "w.safetensors"),
    "keras": ("keras", "w.keras"),
    "keras, weights alone": ("keras", "w.weights.h5"),
}

# Prints seconds, and by how many bytes the peak of resident memory while loading lies above what was resident before.
# TensorFlow is started before, by a small model. The peak is Linux's own of this program: getrusage would also count
# the process that started it.
LOAD = """
import json, pathlib, sys, time
import keras_vit
def resident(name):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
keras_vit.build("mu/16", image_size=32)
before, begin = resident("VmRSS"), time.perf_counter()
model = keras_vit.weights.load(sys.argv[1])
print(json.dumps([time.perf_counter() - begin, resident("VmHWM") - before]))
"""


def measure(settings: BenchmarkSettings, runtime: Runtime) -> dict[str, float]:
    """Seconds to load, and peak memory beside the size of the file, which is also that of the model.

    Args:
        settings: Settings of the command.
        runtime: Runtime, not used: every row is a process of its own.
    """
    values: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = written(settings, pathlib.Path(folder))
        print(f"\nLoading {settings.variant}, {settings.image_size} px: seconds, peak memory, file")
        for row, path in paths.items():
            size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
            rounds = [loaded(path) for _ in range(settings.rounds)]
            seconds, memory = (float(np.median(column)) for column in zip(*rounds, strict=True))
            values |= {f"load {row}": seconds, f"memory {row}": memory / size}
            print(
                f"  {seconds:6.2f} s  {memory / 2**20:8,.0f} MiB  {size / 2**20:8,.0f} MiB  {memory / size:5.2f} x the "
                f"file  {row}"
            )
    return values


def written(settings: BenchmarkSettings, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Writes the same random weights in every format that can hold the model; row -> path."""
    model = keras_vit.build(settings.variant, image_size=settings.image_size)
    random = np.random.default_rng(settings.seed)
    for variable in model.weights:
        variable.assign(random.standard_normal(variable.shape, "float32"))
    paths = {}
    for row, (format, name) in FILES.items():
        path = folder / row / name
        with warnings.catch_warnings():  # of what other readers of a format would assume
            warnings.simplefilter("ignore")
            weights.save(model, path, format=format)
        paths[row] = path
    return paths


def loaded(path: pathlib.Path) -> tuple[float, float]:
    """Seconds and bytes of one load in a fresh process."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(path)], stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory
