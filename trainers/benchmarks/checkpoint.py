"""What a checkpoint costs training."""

import os
import statistics
import tempfile

from trainers.benchmarks import timing
from trainers.benchmarks.engine import trained
from trainers.engine.checkpoint import Checkpoints
from trainers.engine.protocols import Runtime
from trainers.settings.benchmark import BenchmarkSettings


def measure(settings: BenchmarkSettings, runtime: Runtime) -> dict[str, float]:
    """What training waits for a checkpoint, and what it loses to the thread that writes it.

    Args:
        settings: Settings of the command.
        runtime: Runtime of one device.
    """
    steps, iterator = trained(settings, runtime, True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(os.path.join(folder, "checkpoint"))
        waited: list[float] = []

        def with_one():
            waited.append(timing.seconds_of(lambda: checkpoints.save(steps.step, steps.state())))
            steps.train(iterator, settings.updates)
            checkpoints.wait()

        rows = {
            "with a checkpoint": lambda: timing.seconds_of(with_one),
            "without": lambda: timing.seconds_of(lambda: steps.train(iterator, settings.updates)),
        }
        seconds = timing.in_turns(rows, settings.rounds)
        newest = os.path.join(checkpoints.folder, f"step_{checkpoints.steps()[-1]:08d}")
        size = sum(os.path.getsize(os.path.join(newest, name)) for name in os.listdir(newest))
    cost = seconds["with a checkpoint"] - seconds["without"]
    values = {"checkpoint_wait": statistics.median(waited), "checkpoint_cost": cost}
    print(f"\nA checkpoint of {size / 2**20:,.1f} MiB, {settings.variant} on {settings.image_size} px")
    print(f"  training waits {1000 * values['checkpoint_wait']:.1f} ms, and loses {1000 * cost:.1f} ms in all")
    for updates in (settings.updates, 100, 1000):
        print(f"  every {updates:,} updates that is {cost / (seconds['without'] * updates / settings.updates):.2%}")
    return values
