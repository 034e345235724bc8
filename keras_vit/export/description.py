"""What an exported file says of itself: the two small files that go with, or into, each of them."""

import dataclasses
import json
from typing import Any

from keras_vit.classifier import ImageClassifier, description
from keras_vit.export.answering import Answering

LABELS, DESCRIPTION = "labels.txt", "keras_vit.json"


def labels_of(model: ImageClassifier) -> list[str]:
    """A label per class in class order: its name, or its number where the model has no names; none without a head."""
    return model.class_names or [str(number) for number in range(model.architecture.num_classes)]


def lines_of(model: ImageClassifier) -> list[str]:
    """The labels as lines: a line break in one would move all after it."""
    return [" ".join(label.split()) for label in labels_of(model)]


def files_of(model: ImageClassifier, answering: Answering, provenance: dict[str, Any]) -> dict[str, bytes]:
    """Contents of the files by name.

    Args:
        model: That is exported.
        answering: How its logits become an answer.
        provenance: Where the model comes from, as plain JSON values.

    Returns:
        `labels.txt`: a label per line. `keras_vit.json`: family, architecture, preprocessing, class names, answering,
        provenance.
    """
    told = description(model) | {"answering": dataclasses.asdict(answering), "provenance": provenance}
    return {
        LABELS: "".join(f"{line}\n" for line in lines_of(model)).encode(),
        DESCRIPTION: (json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }
