"""Where fine-tuning begins: what frozen features tell, the model to train, and how fast each of its weights."""

from typing import Any, NamedTuple

import keras_vit
from keras_vit import adapters, vit
from keras_vit.errors import UserError
from trainers.finetuning import baseline, warm_head
from trainers.finetuning.baseline import BesideBaseline
from trainers.finetuning.warm_head import Head
from trainers.settings.finetuning import EVERYTHING, HEAD, FinetuningSettings, TrainedPart
from trainers.training.plan import Plan

# Of weight paths.
HEADS = "head(_distillation)?/.*"
TAIL = "(norm|pool|pre_logits|head(_distillation)?)/.*"  # what comes after the blocks


class Preparation(NamedTuple):
    """What came before training.

    Args:
        head: Head to begin with; None for zeros.
        baseline: Callback that knows the instant baseline.
        probe_images: Number of training images whose features were computed; None if none were.
    """

    head: Head | None
    baseline: BesideBaseline
    probe_images: int | None


def prepare(settings: FinetuningSettings, plan: Plan, start) -> Preparation:
    """Tells the instant baseline and trains the head alone, as far as the settings want it.

    A run that is resumed needs neither: its checkpoint knows the one and has what became of the other.

    Args:
        settings: Settings of the run.
        plan: The run.
        start: The model to begin from.
    """
    speaks = plan.runtime.is_chief
    tells = settings.baseline and not plan.source.several_labels
    if plan.start or not (tells or settings.warm_head):
        return Preparation(None, BesideBaseline({}, speaks), settings.probe_images)
    with plan.runtime.placed():
        frozen = model(settings, plan, start, None)
    train, probe_images = baseline.train_features(plan, frozen, settings.probe_images)
    accuracies = baseline.accuracies(plan, frozen, train) if tells else {}
    head = warm_head.trained(plan, train) if settings.warm_head and len(train.ids) else None
    return Preparation(head, BesideBaseline(accuracies, speaks), probe_images)


def model(settings: FinetuningSettings, plan: Plan, start, head: Head | None) -> Any:
    """The model to train; called where its variables are placed.

    Args:
        settings: Settings of the run.
        plan: The run.
        start: Model with the weights to begin from, its head zero.
        head: Head to begin with instead; None for zeros.
    """
    made = keras_vit.build(
        plan.architecture,
        class_names=None if plan.source.class_names is None else list(plan.source.class_names),
        preprocessing=plan.preprocessing,
        dtype=plan.runtime.precision,
    )
    made.set_weights(start.get_weights())
    if head is not None:
        # A distillation token's head too: their mean is the answer.
        for layer in (layer for layer in made.layers if layer.name in ("head", "head_distillation")):
            layer.set_weights(list(head))
    if settings.lora_rank:
        adapters.add(made, settings.lora_rank, seed=settings.seed)
    if settings.remat:
        vit.recompute(made)
    return made


def multipliers(architecture, part: TrainedPart = EVERYTHING, layer_decay: float = 1.0) -> str:
    """Learning-rate multipliers in the form of `keras_vit.multipliers`; "" where every weight is trained alike.

    Args:
        architecture: Architecture of the model.
        part: Part of the model that is trained.
        layer_decay: Multiplier of block i is layer_decay ** (L - i), with i from 0, that of the stem
            layer_decay ** (L + 1).

    Raises:
        UserError: if the model has no blocks, or fewer, to choose from.
    """
    if part == HEAD:
        return f"{HEADS}=1;.*=0"
    if part == EVERYTHING and layer_decay == 1:
        return ""
    if part.pattern:
        return f"{HEADS}=1;{part.pattern}=1;.*=0"
    depth = getattr(architecture, "depth", 0)
    trained = depth if part.blocks is None else part.blocks
    if not depth or trained > depth:
        flag = f"--trainable={part}" if part.blocks is not None else f"--layer_decay={layer_decay}"
        raise UserError(f"{flag} is about Transformer blocks, of which this model has {depth}.")
    rules = [f"{TAIL}=1"]
    for i in range(depth):
        factor = layer_decay ** (depth - i) if i >= depth - trained else 0.0
        rules.append(f"(block|position)_{i}/.*={factor:.9g}")
    return ";".join([*rules, f".*={layer_decay ** (depth + 1) if part == EVERYTHING else 0.0:.9g}"])
