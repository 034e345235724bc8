"""How many images per second the input pipeline of training gives, by itself."""

import time

from trainers.data import pipeline
from trainers.data.source import Source

SECONDS = 3.0


def images_per_second(source: Source, settings) -> float:
    """Reads training batches as fast as they come, for a few seconds after the first.

    Args:
        source: Opened source.
        settings: As of `pipeline.TrainingData`.
    """
    batches = iter(pipeline.TrainingData(source, settings).batches())
    next(batches)
    begin, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < SECONDS or not count:
        next(batches)
        count += 1
    return count * settings.batch_size / seconds
