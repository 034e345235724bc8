"""Rows that are measured in turns."""

import statistics
import time
from collections.abc import Callable, Mapping


def in_turns(rows: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each row. What else the machine does then falls on all rows alike.

    Args:
        rows: Each makes one measurement and returns its seconds.
        rounds: Measurements of each row, after one that does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        for name, measure in rows.items():
            took = measure()
            if number:
                seconds[name].append(took)
    return {name: statistics.median(times) for name, times in seconds.items()}


def seconds_of(work: Callable[[], object]) -> float:
    """How long some work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
