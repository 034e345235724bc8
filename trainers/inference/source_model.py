"""A Keras model as it is to be asked: with names for its classes, and with how its logits become probabilities."""

import os
from typing import Any, NamedTuple

from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError, reason
from keras_vit.export.answering import Answering
from keras_vit.labels import imagenet
from trainers import files
from trainers import run_dir as folder
from trainers.inference import models

# Classes of a head -> whose they are, and their synsets in the order of published heads.
PUBLISHED = {1000: ("ImageNet-1k", imagenet.imagenet_1k), 21_843: ("ImageNet-21k", imagenet.imagenet_21k)}


class SourceModel(NamedTuple):
    """What `--model` names.

    Args:
        model: Model as `keras_vit.build` returns it.
        answering: Rule by which its logits become an answer.
        notes: Lines that its user should see.
    """

    model: ImageClassifier
    answering: Answering
    notes: tuple[str, ...]


def load(path: str, flag: str = "model", **overrides: Any) -> SourceModel:
    """Loads a model to predict with or to export.

    Args:
        path: Folder of a run, or anything that `keras_vit.weights.load` takes.
        flag: Flag that named it.
        **overrides: Overrides as of `keras_vit.weights.load`.

    Raises:
        UserError: if nothing is there, or it holds no model of ours.
    """
    model = models.load(path, flag, **overrides)
    note = name_classes(model, path)
    return SourceModel(model, answering_of(path), (note,) if note else ())


def name_classes(model: ImageClassifier, path: str) -> str | None:
    """Gives the classes of somebody's weights ImageNet's names, if the file has none and their number says so.

    Runs and `.keras` files know what they know: there, 1,000 classes without names may be any.

    Args:
        model: Loaded from `path`; changed in place.
        path: Path as `load` takes it.

    Returns:
        Description of what was done, for people; None if nothing was.
    """
    classes = model.architecture.num_classes
    if model.class_names is not None or classes not in PUBLISHED or path.endswith(".keras") or _is_run(path):
        return None
    name, synsets = PUBLISHED[classes]
    model.class_names = list(imagenet.readable(synsets()))
    return f"class names: {name}'s, because the file has none and its head has {classes:,} classes"


def answering_of(path: str) -> Answering:
    """Sigmoid for a model in the folder of a run, or that folder, that was trained so; else softmax."""
    run_dir = os.path.dirname(path) if path.endswith(".keras") else path
    if os.path.basename(run_dir) == folder.CHECKPOINTS:
        run_dir = os.path.dirname(run_dir)
    flagfile = os.path.join(run_dir, folder.FLAGS)
    if not files.exists(flagfile):
        return Answering()
    try:
        flags = files.read_text(flagfile).splitlines()
    except files.ERRORS as error:
        raise UserError(f"{flagfile} cannot be read: {reason(error)}.") from error
    return Answering(probabilities="sigmoid" if "--objective=sigmoid" in flags else "softmax")


def _is_run(path: str) -> bool:
    return files.exists(os.path.join(path, folder.MODEL))
