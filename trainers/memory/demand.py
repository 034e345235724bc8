"""The memory that training will need on each replica's device, before it starts.

A formula, checked against measured peaks by `python -m trainers.benchmark --benchmarks=memory`; see docs/memory.md.
"""

import dataclasses

from keras_vit import variants
from trainers.engine.protocols import Runtime
from trainers.memory import activations
from trainers.settings.finetuning import EVERYTHING, HEAD, FinetuningSettings, TrainedPart
from trainers.settings.training import TrainingSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand:
    """What the memory of training depends on.

    Args:
        architecture: Architecture of the model. Transformers on patches of images have a formula; ResNets and hybrids
            do not.
        rows: Images of one update on one replica.
        accumulate: Micro-batches they are divided into.
        optimizer: Key of `SLOTS`.
        precision: Name of the dtype policy.
        remat: Whether blocks are computed again in the backward pass.
        xla: Whether forward and backward pass are compiled.
        ema: Whether running averages of the trained weights are kept.
        part: Part of the model that is trained. A regular expression over names counts as everything, the most that
            it can be.
        replicas: Number of replicas that share the global batch.
        device: Kind of device: CPU, GPU or TPU.
        finetunes: Whether the command can train a part only, by --train.
        teacher: Architecture of the model that is learned from, or None; one without a formula leaves all without.
    """

    architecture: variants.AnyArchitecture
    rows: int
    accumulate: int = 1
    optimizer: str = "adamw"
    precision: str = "float32"
    remat: bool = False
    xla: bool = False
    ema: bool = False
    part: TrainedPart = EVERYTHING
    replicas: int = 1
    device: str = "CPU"
    finetunes: bool = False
    teacher: variants.AnyArchitecture | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Bytes on each replica's device at the peak of an update.

    Args:
        weights: Variables of the model, and of the one that it learns from.
        gradients: Gradients of what is trained, and the buffer in which micro-batches add them up.
        optimizer: Its slots.
        averages: Running averages of weights.
        activations: Tensors kept for the backward pass, with the largest working set beside them and the images.
        total: Peak. Not the sum: gradients take the place of activations that the backward pass frees, and the
            optimizer has temporary tensors once all of those are free.
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
        listed = ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count)
        return f"{size(self.total)}: {listed}"


def demand_of(
    settings: TrainingSettings,
    architecture: variants.AnyArchitecture,
    runtime: Runtime,
    teacher: variants.AnyArchitecture | None = None,
) -> Demand:
    """What a training command's settings ask for.

    Args:
        settings: Settings of the command.
        architecture: Architecture of the model to train.
        runtime: Runtime it will train on.
        teacher: Architecture of the model that is learned from, or None.
    """
    return Demand(
        architecture=architecture,
        rows=settings.batch_size // runtime.replicas,
        accumulate=settings.accumulate,
        optimizer=settings.optimizer,
        precision=runtime.precision,
        remat=settings.remat,
        xla=settings.xla,
        ema=bool(settings.ema),
        part=settings.trained_part if isinstance(settings, FinetuningSettings) else EVERYTHING,
        replicas=runtime.replicas,
        device=runtime.device_kind,
        finetunes=isinstance(settings, FinetuningSettings),
        teacher=teacher,
    )


def plan_of(demand: Demand) -> Plan | None:
    """The memory of an update, or None for a family of models without a formula."""
    a = demand.architecture
    taught = _of_teacher(demand)
    if not isinstance(a, variants.Architecture) or a.stem is not None or taught is None:
        return None
    weights = WEIGHT_BYTES * variants.count_params(a) + taught[0]
    trained = WEIGHT_BYTES * _trained_params(a, demand.part)
    buffer = trained if demand.accumulate > 1 else 0
    optimizer = SLOTS[demand.optimizer] * trained
    averages = trained if demand.ema else 0
    activations = _activations(a, demand) + taught[1]
    # XLA sets the gradients aside beforehand, but about half of their memory serves for activations until then.
    backward = max(trained, activations) + (min(trained, activations) // 2 if demand.xla else 0)
    passing = max(backward, trained + min(UPDATE_TENSORS * WEIGHT_BYTES * a.width * a.mlp_width, trained))
    total = weights + optimizer + averages + buffer + passing
    return Plan(weights, trained + buffer, optimizer, averages, activations, total)


def _of_teacher(demand: Demand) -> tuple[int, int] | None:
    """Bytes of the teacher's variables, and of its forward pass, images of its own size included: nothing says that it
    is over before the student's begins. None where there is no formula."""
    a = demand.teacher
    if a is None:
        return 0, 0
    if not isinstance(a, variants.Architecture) or a.stem is not None:
        return None
    height, wide, channels = a.image_shape
    images = height * wide * channels * activations.FLOAT32
    forward = images + activations.forward_set(a, _width(demand), demand.xla)
    return WEIGHT_BYTES * variants.count_params(a), demand.rows // demand.accumulate * forward


def _width(demand: Demand) -> int:
    """Bytes of a number in the compute dtype. On CPUs, XLA computes in float32 whatever it is asked for."""
    halved = demand.precision != "float32" and not (demand.xla and demand.device == "CPU")
    return 2 if halved else activations.FLOAT32


def trained_blocks(a: variants.Architecture, part: TrainedPart) -> int:
    """How many of the last blocks are trained; none where it is the head alone."""
    return 0 if part == HEAD else a.depth if part.blocks is None else min(part.blocks, a.depth)


def _trained_params(a: variants.Architecture, part: TrainedPart) -> int:
    blocks = trained_blocks(a, part)
    head = variants.count_params(a) - variants.count_params(a.replace(num_classes=0))
    if part == HEAD:
        return head
    if part.blocks is None:
        return variants.count_params(a)
    # After the blocks come a norm, attention pooling, which has a probe and is otherwise a block of one norm without
    # positions, and a hidden layer.
    hidden = a.representation * (a.width + 1) if a.representation else 0
    pool = _block_params(a.replace(position="none", position_site="stem")) - a.width if a.pool == "map" else 0
    return blocks * _block_params(a) + 2 * a.width + pool + hidden + head


def _block_params(a: variants.Architecture) -> int:
    return variants.count_params(a.replace(depth=a.depth + 1)) - variants.count_params(a)


def _activations(a: variants.Architecture, demand: Demand) -> int:
    """Bytes at the peak of one micro-batch, and the images of the update."""
    blocks = trained_blocks(a, demand.part)
    width = _width(demand)
    height, wide, channels = a.image_shape
    images = demand.rows * height * wide * channels * activations.FLOAT32
    forward = activations.forward_set(a, width, demand.xla)
    if not blocks:
        return images + demand.rows // demand.accumulate * forward
    whole = activations.kept_by_block(a, width, demand.xla)
    each = activations.input_of_block(a, width) if demand.remat else whole
    stored = blocks * each + activations.kept_by_ends(a, width) + activations.working_set(a, width, demand.xla)
    stored += whole if demand.remat else 0  # of the block that is being computed again
    shared = activations.shared_by_batch(a, width, blocks, _block_params(a))
    return images + shared + demand.rows // demand.accumulate * max(stored, forward)


def size(count: int) -> str:
    """Bytes to be read: 343 MB, 1.9 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 1):.0f} MB"


WEIGHT_BYTES = 4  # variables are float32 in every precision

# Measured, not derived: temporary tensors of the largest kernel's size while weights are updated, several at a time.
UPDATE_TENSORS = 8

# Variables that an optimizer keeps for each trained weight; its names are those of keras_vit.optimization.OPTIMIZERS.
SLOTS = {"adam": 2, "adamw": 2, "sgd": 1, "lamb": 2, "lion": 1}
