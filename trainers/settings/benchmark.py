"""The settings of benchmarks."""

import dataclasses
import functools

from trainers.settings.data import BatchSettings, SourceSettings
from trainers.settings.fields import setting
from trainers.settings.model import ModelSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkSettings(BatchSettings, SourceSettings, ModelSettings):
    """Benchmark."""

    benchmarks: str = setting(
        "engine,checkpoint",
        "What to measure, separated by commas: engine, checkpoint, input, weights, memory, exported.",
    )
    updates: int = setting(30, "Updates per measurement of engine and checkpoint.")
    images: int = setting(2000, "Images per measurement of input; memory is watched over ten times as many.")
    rounds: int = setting(5, "Measurements of each row; rows take turns.")
    seed: int = setting(0, "Of the weights and of augmentation.")

    @functools.cached_property
    def benchmark_names(self) -> list[str]:
        """The benchmarks, in the order asked for."""
        return self.benchmarks.split(",")
