"""The memory that training will need on each replica's device, before it starts, and what to do where that is too much.

A formula, checked against measured peaks by `python -m trainers.benchmark --benchmarks=memory`; see docs/memory.md.
"""

import dataclasses
import re
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.client import device_lib

from keras_vit import variants
from trainers.runs import activations, environment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand:
    """What the memory of training depends on.

    Args:
        architecture: Of the model. Transformers on patches of images have a formula; ResNets and hybrids do not.
        rows: Images of one update on one replica.
        accumulate: Micro-batches they are divided into.
        optimizer: Key of `SLOTS`.
        precision: Name of the dtype policy.
        remat: Whether blocks are computed again in the backward pass.
        xla: Whether forward and backward pass are compiled.
        ema: Whether running averages of the trained weights are kept.
        train: `all`, `head`, or `last:N` for the last N blocks and what comes after them. Anything else, such as a
            regular expression over names, counts as `all`, which is the most that it can be.
        replicas: That share the global batch.
        device: Kind of device: CPU, GPU or TPU.
        finetunes: Whether the command can train a part only, by --train.
    """

    architecture: variants.AnyArchitecture
    rows: int
    accumulate: int = 1
    optimizer: str = "adamw"
    precision: str = "float32"
    remat: bool = False
    xla: bool = False
    ema: bool = False
    train: str = "all"
    replicas: int = 1
    device: str = "CPU"
    finetunes: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """Bytes on each replica's device at the peak of an update.

    Args:
        weights: Variables of the model.
        gradients: Of what is trained, and the buffer in which micro-batches add them up.
        optimizer: Its slots.
        averages: Running averages of weights.
        activations: Kept for the backward pass, with the largest working set beside them and the images.
        total: At the peak. Less than the sum where gradients take the place of activations as the backward pass frees
            them; XLA sets both aside at once.
    """

    weights: int
    gradients: int
    optimizer: int
    averages: int
    activations: int
    total: int

    def words(self) -> str:
        """The parts in one line, those that are nothing left out."""
        rest = self.weights + self.optimizer + self.averages
        parts = {
            "weights": self.weights,
            "optimizer": self.optimizer,
            "averages": self.averages,
            "gradients and activations": self.total - rest,
        }
        listed = ", ".join(f"{name} {_size(count)}" for name, count in parts.items() if count)
        return f"{_size(self.total)}: {listed}"


def demand_of(settings, architecture, where) -> Demand:
    """What a training command's settings ask for.

    Args:
        settings: Of the command.
        architecture: Of the model to train.
        where: Runtime it will train on.
    """
    return Demand(
        architecture=architecture,
        rows=settings.batch_size // where.replicas,
        accumulate=settings.accumulate,
        optimizer=settings.optimizer,
        precision=where.precision,
        remat=settings.remat,
        xla=settings.xla,
        ema=bool(settings.ema),
        train=getattr(settings, "train", "all"),
        replicas=where.replicas,
        device=_device(where),
        finetunes=hasattr(settings, "train"),
    )


def plan(demand: Demand) -> Plan | None:
    """The memory of an update, or None for a family of models without a formula."""
    if not isinstance(demand.architecture, variants.Architecture) or demand.architecture.stem is not None:
        return None
    weights = WEIGHT_BYTES * variants.count_params(demand.architecture)
    trained = WEIGHT_BYTES * _trained_params(demand)
    buffer = trained if demand.accumulate > 1 else 0
    optimizer = SLOTS[demand.optimizer] * trained
    averages = trained if demand.ema else 0
    kept = _activations(demand)
    passing = trained + kept if demand.xla else max(trained, kept)
    total = weights + optimizer + averages + buffer + passing
    return Plan(weights, trained + buffer, optimizer, averages, kept, total)


def limit(where) -> int | None:
    """Bytes that a replica's device has for training; None where nobody says, as of TPUs.

    Replicas that are parts of one CPU share the machine's memory, or the container's, less what the program takes.

    Args:
        where: Runtime.
    """
    kind = _device(where)
    if kind == "GPU":
        limits = [device.memory_limit for device in device_lib.list_local_devices() if device.device_type == "GPU"]
        return min(limits, default=None)
    if kind == "CPU":
        whole = environment.memory()
        here = len(where.strategy.extended.worker_devices)
        return None if whole is None else max(int(whole * 2**30) - PROGRAM_BYTES, 0) // here
    return None


def advice(demand: Demand, limit: int | None) -> str | None:
    """One line about what to change where training will not fit; None where it will, or nobody knows.

    Args:
        demand: What is asked for.
        limit: Bytes that there are.
    """
    asked = plan(demand)
    if asked is None or limit is None or asked.total <= limit:
        return None
    begin = f"about {_size(asked.total)} are needed on each replica, which has {_size(limit)}"
    for words, changed in _changes(demand):
        found = plan(changed)
        if found is not None and found.total <= limit:
            return f"{begin}; {words} would need {_size(found.total)}."
    return f"{begin}; take a smaller --variant or --image_size, or a larger device."


def _changes(demand: Demand) -> Iterator[tuple[str, Demand]]:
    """Flags and the demand with them, in the order of what they cost the user: nothing, time, results."""
    shares = [count for count in range(demand.accumulate + 1, demand.rows + 1) if demand.rows % count == 0]
    recomputed = dataclasses.replace(demand, remat=True)
    for count in shares:
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
    for blocks in range(_trained_blocks(demand) - 1, 0, -1) if demand.finetunes else ():
        yield f"--train=last:{blocks}", dataclasses.replace(demand, train=f"last:{blocks}")


def _trained_blocks(demand: Demand) -> int:
    """How many of the last blocks are trained; none where it is the head alone."""
    depth = demand.architecture.depth
    last = re.fullmatch(r"last:(\d+)", demand.train)
    return min(int(last[1]), depth) if last else 0 if demand.train == "head" else depth


def _trained_params(demand: Demand) -> int:
    a, blocks = demand.architecture, _trained_blocks(demand)
    if demand.train not in ("head",) and blocks == a.depth:
        return variants.count_params(a)
    head = variants.count_params(a) - variants.count_params(a.replace(num_classes=0))
    if demand.train == "head":
        return head
    # After the blocks come a norm, and where asked for an attention pooling, which has about a block's weights.
    return head + 2 * a.width + (blocks + (a.pool == "map")) * _block_params(a)


def _block_params(a: variants.Architecture) -> int:
    return variants.count_params(a.replace(depth=a.depth + 1)) - variants.count_params(a)


def _activations(demand: Demand) -> int:
    """Bytes at the peak of one micro-batch, and the images of the update."""
    a, blocks = demand.architecture, _trained_blocks(demand)
    width = activations.FLOAT32 if demand.precision == "float32" else 2
    height, wide, channels = a.image_shape
    images = demand.rows * height * wide * channels * activations.FLOAT32
    forward = activations.forward_set(a, width, demand.xla)
    if not blocks:
        return images + demand.rows // demand.accumulate * forward
    whole = activations.kept_by_block(a, width, demand.xla)
    each = activations.input_of_block(a, width) if demand.remat else whole
    kept = blocks * each + activations.kept_by_ends(a, width) + activations.working_set(a, width, demand.xla)
    kept += whole if demand.remat else 0  # of the block that is being computed again
    shared = activations.shared_by_batch(a, width, blocks, _block_params(a))
    return images + shared + demand.rows // demand.accumulate * max(kept, forward)


def _device(where) -> str:
    return tf.DeviceSpec.from_string(where.strategy.extended.worker_devices[0]).device_type


def _size(count: int) -> str:
    """Bytes to be read: 343 MB, 1.9 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"


WEIGHT_BYTES = 4  # variables are float32 in every precision

# Of a training process on a CPU before it holds a tensor: TensorFlow 0.8 GB, graphs and kernels 0.2 to 0.5 GB.
PROGRAM_BYTES = 1_200_000_000

# Variables that an optimizer keeps for each trained weight; its names are those of keras_vit.optimization.OPTIMIZERS.
SLOTS = {"adam": 2, "adamw": 2, "sgd": 1, "lamb": 2, "lion": 1}
