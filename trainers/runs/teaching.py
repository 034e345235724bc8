"""The teacher of a run: opened before anything else, and placed where the student is."""

from typing import Any

import keras
import tensorflow as tf

import keras_vit
from keras_vit import distilling
from trainers.runs import models


def opened(settings, source) -> Any:
    """The model that `--teacher` names, in the memory of the CPU; None where none is asked for.

    Args:
        settings: Of a training command.
        source: What is learned.

    Raises:
        ValueError: if there is no such model, or its classes or channels are not the source's.
    """
    if not settings.teacher:
        return None
    with tf.device("CPU"):
        teacher = models.load(settings.teacher, "teacher")
    check(teacher, source, f"--teacher={settings.teacher}")
    # The teacher's first weights took numbers: with this the student has the same ones as without it.
    keras.utils.set_random_seed(settings.seed)
    return teacher


def check(teacher, source, name: str) -> None:
    """Raises ValueError unless a model answers for images and classes of the source.

    Args:
        teacher: The model.
        source: Of the run.
        name: Of the model, for people.
    """
    a = teacher.architecture
    if not a.num_classes:
        raise ValueError(f"{name} has no head, so it knows no classes; take one that was trained with labels.")
    if a.channels != source.channels:
        raise ValueError(f"{name} takes images of {a.channels} channels; {source.name} has {source.channels}.")
    if a.num_classes != source.num_classes:
        raise ValueError(
            f"{name} knows {a.num_classes} classes, {source.name} has {source.num_classes}: they must be the same; "
            "fine-tune the teacher on this source first."
        )
    pairs = zip(teacher.class_names or (), source.class_names or (), strict=False)
    for number, (theirs, ours) in enumerate(pairs):
        if theirs != ours:
            raise ValueError(
                f"{name} calls class {number} {theirs!r}, {source.name} calls it {ours!r}: they must be the same, in "
                "the same order."
            )


def placed(planned) -> distilling.Teacher:
    """The run's teacher in its precision, frozen; called under the run's strategy, where variables belong.

    Args:
        planned: The run.
    """
    given = planned.teacher
    model = keras_vit.build(
        given.architecture, preprocessing=given.preprocessing, dtype=planned.where.precision, name="teacher"
    )
    model.set_weights(given.get_weights())
    model.trainable = False
    return distilling.Teacher(model, planned.preprocessing)
