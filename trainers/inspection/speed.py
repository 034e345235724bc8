"""How many images per second the input pipeline of training gives, by itself."""

import time

from trainers.data import pipeline

SECONDS = 3.0


def images_per_second(data: pipeline.TrainingData, batch_size: int) -> float:
    """Reads training batches as fast as they come, for a few seconds after the first.

    Args:
        data: What a run would train on.
        batch_size: Of its batches.
    """
    batches = iter(data.batches())
    next(batches)
    begin, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < SECONDS or not count:
        next(batches)
        count += 1
    return count * batch_size / seconds
