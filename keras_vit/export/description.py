"""What an exported file says of itself: the two small files that go with, or into, each of them."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_vit.classifier import ImageClassifier, description
from keras_vit.errors import UserError, reason
from keras_vit.export.answering import Answering
from keras_vit.preprocessing import Preprocessing

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
        model: Model that is exported.
        answering: How its logits become an answer.
        provenance: Origin of the model, as plain JSON values.

    Returns:
        `labels.txt`: a label per line. `keras_vit.json`: family, architecture, preprocessing, class names, answering,
        provenance.
    """
    content = description(model) | {"answering": dataclasses.asdict(answering), "provenance": provenance}
    return {
        LABELS: "".join(f"{line}\n" for line in lines_of(model)).encode(),
        DESCRIPTION: (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }


class Told(NamedTuple):
    """What can be read of these files: a label per class, and how the model wants its images."""

    labels: tuple[str, ...]
    preprocessing: Preprocessing


def read(files: Mapping[str, bytes]) -> Told:
    """What `files_of` wrote.

    Args:
        files: Contents by name.

    Raises:
        UserError: if one is missing, or says something else.
    """
    for name in (LABELS, DESCRIPTION):
        if name not in files:
            raise UserError(f"it lacks {name}")
    try:
        labels, content = (files[name].decode() for name in (LABELS, DESCRIPTION))
        return Told(tuple(labels.splitlines()), Preprocessing(**json.loads(content)["preprocessing"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"its {LABELS} or {DESCRIPTION} is not as it was written: {reason(error)}") from error
