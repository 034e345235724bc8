"""The benchmark runs; what it measures is for people to read, not for tests to judge."""

import math

import pytest

from trainers import benchmark
from trainers.settings import flags


def test_every_row_is_measured(capsys):
    values = benchmark.run(
        benchmark.Settings(source="synthetic", variant="mu/16", image_size=32, batch_size=8, updates=2, rounds=1)
    )
    rows = [f"{who}{xla}" for who in ("engine", "fit") for xla in ("", ", XLA")]
    assert {*rows, "checkpoint_wait", "checkpoint_cost"} <= values.keys()
    assert all(values[name] > 0 for name in rows) and all(map(math.isfinite, values.values()))
    said = capsys.readouterr().out
    assert "x the fastest fit" in said and "A checkpoint of" in said and "tensorflow" in said


@pytest.mark.parametrize("changes", [{"benchmarks": "engine,luck"}, {"rounds": 0}])
def test_flags_are_checked(changes):
    with pytest.raises(flags.UsageError, match=r"luck|rounds"):
        benchmark.Settings(**changes)
