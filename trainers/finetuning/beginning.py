"""Where fine-tuning begins: what frozen features tell, and the model to train."""

from typing import Any, NamedTuple

import keras_vit
from keras_vit import adapters, vit
from trainers.finetuning import baseline, warm_head
from trainers.finetuning.beside_baseline import BesideBaseline
from trainers.finetuning.warm_head import Head
from trainers.training.plan import Planned


class Found(NamedTuple):
    """What came before training.

    Args:
        head: To begin with; None for zeros.
        baseline: Callback that knows the instant baseline.
        probe_images: How many training images' features were computed; None if none were.
    """

    head: Head | None
    baseline: BesideBaseline
    probe_images: int | None


def found(planned: Planned, start) -> Found:
    """Tells the instant baseline and trains the head alone, as far as the settings want it.

    A run that is resumed needs neither: its checkpoint knows the one and has what became of the other.

    Args:
        planned: The run.
        start: The model to begin from.
    """
    settings, speaks = planned.settings, planned.where.is_chief
    tells = settings.baseline and not planned.source.several_labels
    if planned.start or not (tells or settings.warm_head):
        return Found(None, BesideBaseline({}, speaks), settings.probe_images)
    with planned.where.placed():
        frozen = model(planned, start, None)
    train, probe_images = baseline.train_features(planned, frozen)
    accuracies = baseline.accuracies(planned, frozen, train) if tells else {}
    head = warm_head.trained(planned, train) if settings.warm_head and len(train.ids) else None
    return Found(head, BesideBaseline(accuracies, speaks), probe_images)


def model(planned: Planned, start, head: Head | None) -> Any:
    """The model to train; called where its variables are placed.

    Args:
        planned: The run.
        start: Model with the weights to begin from, its head zero.
        head: To begin with instead; None for zeros.
    """
    settings = planned.settings
    made = keras_vit.build(
        planned.architecture,
        class_names=None if planned.source.class_names is None else list(planned.source.class_names),
        preprocessing=planned.preprocessing,
        dtype=planned.where.precision,
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
