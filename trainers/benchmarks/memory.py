"""The plan of memory beside what an update really takes, each configuration in a process of its own.

`python -m trainers.benchmarks.memory` is that process: it reads a configuration as JSON from its argument.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys

import tensorflow as tf
from tqdm import tqdm

import keras_vit
from keras_vit import optimization, variants, vit
from keras_vit.objectives.classification import Softmax
from trainers.engine.protocols import Runtime, Steps, UpdateRule
from trainers.engine.runtime import start as start_runtime
from trainers.memory.demand import Demand, plan_of
from trainers.settings.benchmark import BenchmarkSettings
from trainers.settings.finetuning import part_of

CLASSES = 100
UPDATES = 2  # measured, after one in which functions are traced and compiled


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """What is measured; the fields are those of `trainers.memory.demand.Demand` and of the architecture."""

    variant: str = "Ti/16"
    image_size: int = 224
    dropout: float = 0.0
    rows: int = 32
    accumulate: int = 1
    optimizer: str = "adamw"
    precision: str = "float32"
    remat: bool = False
    xla: bool = False
    ema: float | None = None
    train: str = "all"

    def demand(self) -> Demand:
        changes = {"image_size": self.image_size, "dropout": self.dropout, "num_classes": CLASSES}
        taken = ("rows", "accumulate", "optimizer", "precision", "remat", "xla")
        return Demand(
            architecture=variants.parse(self.variant, **changes),
            part=part_of(self.train),
            ema=self.ema is not None,
            **{name: getattr(self, name) for name in taken},
        )


def measure(settings: BenchmarkSettings, runtime: Runtime) -> dict[str, float]:
    """Planned and measured bytes of each configuration, and their ratio.

    Args:
        settings: Settings, not used; configurations are a table of this file.
        runtime: Runtime, not used; each has a process of its own.
    """
    print("\nMemory of an update above weights, optimizer and averages, MB: planned, measured, and the process's rise")
    ratios = {}
    for name, configuration in tqdm(CONFIGURATIONS.items(), desc="memory", delay=2, leave=False):
        plan = plan_of(configuration.demand())
        assert plan is not None
        planned = plan.total - plan.weights - plan.optimizer - plan.averages
        measured = _in_process(configuration)
        ratios[name] = planned / measured["peak"]
        numbers = "".join(f"{count / 1e6:8,.0f}" for count in (planned, measured["peak"], measured["process"]))
        print(f"  {name:<36}{numbers}  {ratios[name]:6.2f} planned / measured", flush=True)
    return ratios


def _in_process(configuration: Configuration) -> dict[str, int]:
    """What `peaks` finds in a fresh process."""
    # Blocks that TensorFlow asks the C library for, and gives back, are then given back to the system too.
    environment = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "trainers.benchmarks.memory", json.dumps(dataclasses.asdict(configuration))]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peaks(configuration: Configuration) -> dict[str, int]:
    """Bytes above weights, optimizer and averages at the peak of a few updates.

    Returns:
        peak: what TensorFlow's allocator counts as in use, as on a GPU; process: how far the process's memory rose
        above what it was with model and optimizer built, compiled functions included; 0 where the system does not tell.
    """
    runtime = start_runtime("one_device", configuration.precision, 0)
    steps = _steps(configuration, runtime)
    iterator = iter(runtime.distribute(_feed(configuration), configuration.rows))
    device = f"{runtime.device_kind}:0"
    built = _status("VmRSS")
    steps.train(iterator, 1)
    between = tf.config.experimental.get_memory_info(device)["current"]
    tf.config.experimental.reset_memory_stats(device)
    steps.train(iterator, UPDATES)
    peak = tf.config.experimental.get_memory_info(device)["peak"]
    return {"peak": peak - between, "process": _status("VmHWM") - built}


def _steps(configuration: Configuration, runtime: Runtime) -> Steps:
    """The graph functions of a fresh model."""
    demand = configuration.demand()
    with runtime.placed():
        model = keras_vit.build(demand.architecture, dtype=runtime.precision)
        _freeze(model, configuration.train)
        optimizer = optimization.optimizer(configuration.optimizer, model.trainable_variables, learning_rate=1e-3)
    if configuration.remat:
        vit.recompute(model)
    rule = UpdateRule(
        batch_size=configuration.rows,
        clip_norm=1.0,
        accumulate=configuration.accumulate,
        ema=configuration.ema,
        xla=configuration.xla,
    )
    spec = _feed(configuration)(0, 1, configuration.rows).element_spec
    return runtime.steps(model, Softmax(CLASSES), optimizer, spec, rule)


def _freeze(model, train: str) -> None:
    """Freezes what --train leaves out; every layer of its name is a part of the model."""
    if train == "all":
        return
    depth = model.architecture.depth
    last = int(train.removeprefix("last:")) if train.startswith("last:") else 0
    trained = {"head"} if train == "head" else {"norm", "pool", "pre_logits", "head"}
    trained |= {f"block_{number}" for number in range(depth - last, depth)}
    for layer in model.layers:
        layer.trainable = layer.name in trained


def _feed(configuration: Configuration):
    """Batches of nothing, each made anew as by a pipeline; memory does not depend on values."""
    shape = configuration.demand().architecture.image_shape

    def batch(rows: int):
        return {"images": tf.zeros((rows, *shape)), "labels": tf.zeros((rows,), tf.int32), "weights": tf.ones((rows,))}

    return lambda share, shares, rows: tf.data.Dataset.range(tf.int64.max).map(lambda _: batch(rows))


def _status(name: str) -> int:
    """A number of bytes that Linux tells of this process; 0 elsewhere."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            match = re.search(rf"{name}:\s+(\d+) kB", file.read())
    except FileNotFoundError:
        return 0
    return 1024 * int(match[1]) if match else 0


# Each below 4 GB.
CONFIGURATIONS = {
    "Ti/16": Configuration(),
    "Ti/16, batch 8": Configuration(rows=8),
    "Ti/16, SGD": Configuration(optimizer="sgd"),
    "Ti/16, averages": Configuration(ema=0.999),
    "Ti/16, dropout 0.1": Configuration(dropout=0.1),
    "Ti/16, 4 micro-batches": Configuration(accumulate=4),
    "Ti/16, head": Configuration(train="head"),
    "Ti/16, last 4 blocks": Configuration(train="last:4"),
    "Ti/16, recomputation": Configuration(remat=True),
    "Ti/16, 384 px": Configuration(image_size=384, rows=8),
    "Ti/16, bfloat16": Configuration(precision="mixed_bfloat16", rows=8),
    "Ti/16, XLA": Configuration(xla=True),
    "Ti/16, XLA, dropout 0.1": Configuration(xla=True, dropout=0.1),
    "Ti/16, XLA, 4 micro-batches": Configuration(xla=True, accumulate=4),
    "Ti/16, XLA, recomputation": Configuration(xla=True, remat=True),
    "Ti/16, XLA, 384 px": Configuration(xla=True, image_size=384, rows=8),
    "S/16": Configuration(variant="S/16", rows=16),
    "S/16, XLA": Configuration(variant="S/16", rows=16, xla=True),
    "S/16, recomputation": Configuration(variant="S/16", remat=True),
    "B/16, batch 2": Configuration(variant="B/16", rows=2),
    "B/16, batch 2 as 2 micro-batches": Configuration(variant="B/16", rows=2, accumulate=2),
}


if __name__ == "__main__":
    print(json.dumps(peaks(Configuration(**json.loads(sys.argv[1])))))
