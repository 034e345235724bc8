"""Measures speed, in ratios of rows that alternate in one run.

Rows come from --benchmarks: `engine` sets this engine beside Keras's `fit` on one device, on the same model and
batches; `checkpoint` measures what a checkpoint costs training; `input` sets the input pipeline beside plain decoding
of the source's images, or of JPEGs made from photographs where the source holds pixels; `weights` measures time and
memory of loading each format; `memory` sets the plan of memory beside what updates take; `exported` measures exported
files, beside KerasHub's where that is installed. All times are medians over --rounds.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.engine.protocols import Runtime

from keras_vit.errors import UserError
from trainers import machine
from trainers.settings import command_line
from trainers.settings.benchmark import BenchmarkSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(BenchmarkSettings):
    """Settings of benchmarks; every field is a flag of the same name."""

    def check(self) -> None:
        self.check_positive("updates", "images", "rounds")
        unknown = sorted(set(self.benchmark_names) - set(BENCHMARKS))
        if unknown:
            raise UserError(f"Unknown --benchmarks {unknown[0]!r}; choose among {', '.join(BENCHMARKS)}.")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> dict[str, float]:
    """Measures; prints tables and returns {row: value}. Keras callbacks have nothing to watch here."""
    from trainers.engine.runtime import start as start_runtime

    runtime = start_runtime("one_device", "float32", settings.seed)
    print(", ".join(f"{name} {version}" for name, version in machine.versions().items()), f"; {runtime.reason}", sep="")
    values: dict[str, float] = {}
    for name in settings.benchmark_names:
        values |= BENCHMARKS[name](settings, runtime)
    return values


# Imported only when run, because --help is not to wait for TensorFlow.


def engine(settings: Settings, runtime: "Runtime") -> dict[str, float]:
    from trainers.benchmarks import engine

    return engine.measure(settings, runtime)


def checkpoint(settings: Settings, runtime: "Runtime") -> dict[str, float]:
    from trainers.benchmarks import checkpoint

    return checkpoint.measure(settings, runtime)


def input_pipeline(settings: Settings, runtime: "Runtime") -> dict[str, float]:
    from trainers.benchmarks import input

    return input.measure(settings, runtime)


def weight_files(settings: Settings, runtime: "Runtime") -> dict[str, float]:
    from trainers.benchmarks import weights

    return weights.measure(settings, runtime)


def memory(settings: Settings, runtime: "Runtime") -> dict[str, float]:
    from trainers.benchmarks import memory

    return memory.measure(settings, runtime)


def exported(settings: Settings, runtime: "Runtime") -> dict[str, float]:
    from trainers.benchmarks import exported

    return exported.measure(settings, runtime)


BENCHMARKS = {
    "engine": engine,
    "checkpoint": checkpoint,
    "input": input_pipeline,
    "weights": weight_files,
    "memory": memory,
    "exported": exported,
}


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "benchmark"))
