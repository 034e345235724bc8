"""The memory that a replica has for training, and what to change where that is not enough."""

import dataclasses
from collections.abc import Iterator

from keras_vit import variants
from trainers import machine
from trainers.engine.protocols import Runtime
from trainers.memory.demand import Demand, plan_of, size, trained_blocks
from trainers.settings.finetuning import HEAD, TrainedPart


def limit(runtime: Runtime) -> int | None:
    """Bytes that a replica's device has for training; None where nobody says, as of TPUs.

    Replicas that are parts of one CPU share the machine's memory, or the container's, less what the program takes.

    Args:
        runtime: Runtime.
    """
    if runtime.device_kind != "CPU":
        return runtime.device_memory()
    whole = machine.memory()
    return None if whole is None else max(int(whole * 2**30) - PROGRAM_BYTES, 0) // runtime.local_devices


def advice(demand: Demand, limit: int | None) -> str | None:
    """One line about what to change where training will not fit; None where it will, or nobody knows.

    Args:
        demand: Demand of the run.
        limit: Bytes that there are.
    """
    plan = plan_of(demand)
    if plan is None or limit is None or plan.total <= limit:
        return None
    begin = f"about {size(plan.total)} are needed on each replica, which has {size(limit)}"
    for words, changed in _changes(demand):
        changed_plan = plan_of(changed)
        if changed_plan is not None and changed_plan.total <= limit:
            return f"{begin}; {words} would need {size(changed_plan.total)}."
    return f"{begin}; take a smaller --variant or --image_size, or a larger device."


def _changes(demand: Demand) -> Iterator[tuple[str, Demand]]:
    """Flags and the demand with them, in the order of what they cost the user: nothing, time, results."""
    shares = [count for count in range(demand.accumulate + 1, demand.rows + 1) if demand.rows % count == 0]
    recomputed = dataclasses.replace(demand, remat=True)
    for count in shares:
        if demand.rows // count >= LEAST_ROWS:
            yield f"--accumulate={count}", dataclasses.replace(demand, accumulate=count)
    if demand.device == "GPU" and demand.precision == "float32":
        yield "--precision=mixed_bfloat16", dataclasses.replace(demand, precision="mixed_bfloat16")
    if not demand.remat:
        yield "--remat", recomputed
        for count in shares:
            yield f"--remat --accumulate={count}", dataclasses.replace(recomputed, accumulate=count)
    for rows in (demand.rows >> halvings for halvings in range(1, demand.rows.bit_length())):
        words = f"--batch_size={rows * demand.replicas}{' --accumulate=1' * (demand.accumulate > 1)}"
        yield words, dataclasses.replace(demand, rows=rows, accumulate=1)
    a = demand.architecture
    if demand.finetunes and isinstance(a, variants.Architecture):
        for blocks in range(trained_blocks(a, demand.part) - 1, -1, -1):
            part = TrainedPart(blocks=blocks) if blocks else HEAD
            yield f"--trainable={part}", dataclasses.replace(demand, part=part)


# Images of a micro-batch below which anything else is advised first: fewer leave a device idle.
LEAST_ROWS = 4

# Of a training process on a CPU before it holds a tensor: TensorFlow 0.8 GB, graphs and kernels 0.2 to 0.5 GB.
PROGRAM_BYTES = 1_200_000_000
