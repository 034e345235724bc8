"""Whether a model and a source mean the same by images and classes."""

import re

from keras_vit import weights
from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError
from trainers.data.source import Source


def check_images(model: ImageClassifier, source: Source, name: str) -> None:
    """Raises UserError if a model takes images of other channels than the source's.

    Args:
        model: Model as `keras_vit.build` returns it.
        source: Opened source.
        name: Name of the model, as `--model=RUN`.
    """
    channels = model.architecture.channels
    if channels != source.channels:
        raise UserError(f"{name} takes images of {channels} channels; --source={source.name} has {source.channels}.")


def check_classes(model: ImageClassifier, source: Source, name: str, advice: str) -> None:
    """Raises UserError unless a model's head answers for the source's images and classes, in the same order.

    Args:
        model: Model as `keras_vit.build` returns it.
        source: Opened source.
        name: Name of the model, as `--model=RUN`.
        advice: Advice about a model that has no head, or one of zeros.
    """
    check_images(model, source, name)
    classes = model.architecture.num_classes
    if not classes:
        raise UserError(f"{name} has no head, so it knows no classes; {advice}")
    if classes != source.num_classes:
        raise UserError(f"{name} knows {classes} classes; --source={source.name} has {source.num_classes}.")
    pairs = zip(model.class_names or (), source.class_names or (), strict=False)
    differ = [(number, *pair) for number, pair in enumerate(pairs) if not same_class(*pair)]
    if differ:
        number, ours, theirs = differ[0]
        raise UserError(
            f"{name} calls class {number} {ours!r}, --source={source.name} calls it {theirs!r}: labels must mean the "
            "same, in the same order."
        )
    if weights.head_is_zero(model):
        raise UserError(
            f"{name} has a head of zeros, as published for fine-tuning: it says the same of every image; {advice}"
        )


def same_class(one: str, other: str) -> bool:
    """Whether two names mean the same class: `crane (n02012849)`, `crane` and `crane, bird` do.

    Published heads have all of WordNet's lemmas for a class, our sources the first, with the synset where two have it.
    """
    one, other = (re.sub(r" \(n\d{8}\)$", "", name) for name in (one, other))
    return one == other or one == other.split(", ")[0] or other == one.split(", ")[0]
