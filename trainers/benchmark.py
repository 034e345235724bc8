"""Measures speed, in ratios of rows that alternate in one run.

Rows come from --benchmarks: `engine` sets this engine beside Keras's `fit` on one device, on the same model and
batches; `checkpoint` measures what a checkpoint costs training. All numbers are medians over --rounds.
"""

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from trainers.settings import command_line, data_groups, flags, groups
from trainers.settings.fields import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(data_groups.BatchSettings, data_groups.SourceSettings, groups.ModelSettings):
    """Benchmark."""

    benchmarks: str = setting(
        "engine,checkpoint", "What to measure, separated by commas: engine, checkpoint.", affects_result=True
    )
    updates: int = setting(30, "Updates per measurement.", affects_result=True)
    rounds: int = setting(5, "Measurements of each row; rows take turns.", affects_result=True)
    seed: int = setting(0, "Of the weights.", affects_result=True)

    def __post_init__(self):
        flags.check_values(self)
        data_groups.check_source(self)
        groups.check_positive(self, "batch_size", "updates", "rounds")
        unknown = sorted(set(self.benchmarks.split(",")) - set(BENCHMARKS))
        if unknown:
            raise flags.UsageError(f"Unknown --benchmarks {unknown[0]!r}; choose among {', '.join(BENCHMARKS)}.")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> dict[str, float]:
    """Measures; prints tables and returns {row: value}. Keras callbacks have nothing to watch here."""
    from trainers.engine import runtime
    from trainers.runs import folder

    where = runtime.start("one_device", "float32", settings.seed)
    print(", ".join(f"{name} {version}" for name, version in folder.versions().items()), f"; {where.reason}", sep="")
    values: dict[str, float] = {}
    for name in settings.benchmarks.split(","):
        values |= BENCHMARKS[name](settings, where)
    return values


def engine(settings: Settings, where) -> dict[str, float]:
    """Updates per second of this engine and of `fit`, each plain and under XLA."""
    rows: dict[str, Callable[[], None]] = {}
    for xla in (False, True):
        suffix = ", XLA" if xla else ""
        rows[f"engine{suffix}"] = engine_row(settings, where, xla)
        rows[f"fit{suffix}"] = fit_row(settings, xla, 1)
        rows[f"fit{suffix}, {settings.updates} steps per execution"] = fit_row(settings, xla, settings.updates)
    seconds = in_turns(rows, settings.rounds)
    speeds = {name: settings.updates / statistics.median(times) for name, times in seconds.items()}
    fastest = max(speed for name, speed in speeds.items() if name.startswith("fit"))
    print(f"\nUpdates per second, {settings.variant} on {settings.image_size} px, batch {settings.batch_size}")
    for name, speed in speeds.items():
        print(f"  {name:<36}{speed:8.2f}  {speed / fastest:6.2f} x the fastest fit")
    return speeds


def engine_row(settings: Settings, where, xla: bool) -> Callable[[], None]:
    """A function that does the updates of one measurement."""
    from trainers.engine.feeding import distribute

    steps = new_steps(settings, where, xla)
    iterator = iter(distribute(batches_of(settings), where.strategy, settings.batch_size))
    return lambda: steps.train(iterator, settings.updates)


def fit_row(settings: Settings, xla: bool, per_execution: int) -> Callable[[], None]:
    """The same with `keras.Model.fit`."""
    import keras

    from keras_vit import optimization

    model = new_model(settings)
    model.compile(
        optimization.AdamW(1e-3, weight_decay=0.1, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=xla,
        steps_per_execution=per_execution,
    )
    pairs = batches_of(settings)(0, 1, settings.batch_size).map(lambda batch: (batch["images"], batch["labels"]))
    return lambda: model.fit(pairs, steps_per_epoch=settings.updates, epochs=1, shuffle=False, verbose=0)


def new_steps(settings: Settings, where, xla: bool):
    """Graph functions of a fresh model, with the clipping and decay of the paper's recipes."""
    from keras_vit import optimization
    from keras_vit.objectives.classification import Softmax
    from trainers.engine.steps import Steps

    with where.strategy.scope():
        model = new_model(settings)
        optimizer = optimization.optimizer("adamw", model.trainable_variables, learning_rate=1e-3, weight_decay=0.1)
    spec = batches_of(settings)(0, 1, settings.batch_size).element_spec
    objective = Softmax(model.architecture.num_classes)
    return Steps(
        model, objective, optimizer, where.strategy, spec, batch_size=settings.batch_size, clip_norm=1.0, xla=xla
    )


def new_model(settings: Settings):
    import keras_vit
    from trainers.pretrain import architecture_for

    return keras_vit.build(architecture_for(settings, opened(settings)))


def opened(settings: Settings):
    from trainers.data import sources

    source = sources.open_source(settings)
    source.ready()
    return source


def batches_of(settings: Settings):
    """A feed that repeats a few batches from memory: what is measured is not the input."""
    from keras_vit.preprocessing import Preprocessing
    from trainers.data import pipeline
    from trainers.pretrain import architecture_for

    source = opened(settings)
    size = architecture_for(settings, source).image_shape[:2]
    data = pipeline.EvaluationData(source, "train", settings.batch_size, Preprocessing(size=size))
    batches = data.batches().take(4).cache()
    for _ in batches:
        source.bad.check()
    return lambda share, shares, rows: batches.repeat()


def checkpoint(settings: Settings, where) -> dict[str, float]:
    """What training waits for a checkpoint, and what it loses to the thread that writes it."""
    from trainers.engine.checkpoint import Checkpoints
    from trainers.engine.feeding import distribute

    steps = new_steps(settings, where, True)
    iterator = iter(distribute(batches_of(settings), where.strategy, settings.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(os.path.join(folder, "checkpoint"))
        waited: list[float] = []

        def with_one():
            begin = time.perf_counter()
            checkpoints.save(steps.step, steps.state())
            waited.append(time.perf_counter() - begin)
            steps.train(iterator, settings.updates)
            checkpoints.wait()

        rows = {"with a checkpoint": with_one, "without": lambda: steps.train(iterator, settings.updates)}
        seconds = {name: statistics.median(times) for name, times in in_turns(rows, settings.rounds).items()}
        newest = os.path.join(checkpoints.folder, f"step_{checkpoints.steps()[-1]:08d}")
        size = sum(os.path.getsize(os.path.join(newest, name)) for name in os.listdir(newest))
    cost = seconds["with a checkpoint"] - seconds["without"]
    values = {"checkpoint_wait": statistics.median(waited), "checkpoint_cost": cost}
    print(f"\nA checkpoint of {size / 2**20:,.1f} MiB, {settings.variant} on {settings.image_size} px")
    print(f"  training waits {1000 * values['checkpoint_wait']:.1f} ms, and loses {1000 * cost:.1f} ms in all")
    for updates in (settings.updates, 100, 1000):
        print(f"  every {updates:,} updates that is {cost / (seconds['without'] * updates / settings.updates):.2%}")
    return values


def in_turns(rows: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each row in each round, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, work in rows.items():
            begin = time.perf_counter()
            work()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


BENCHMARKS = {"engine": engine, "checkpoint": checkpoint}


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "benchmark"))
