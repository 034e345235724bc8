"""The teacher of a run: opened before anything else, and placed where the student is."""

import keras
import tensorflow as tf

import keras_vit
from keras_vit import distilling
from trainers.data.source import Source
from trainers.inference import compatibility, models
from trainers.settings.training import TrainingSettings
from trainers.training.plan import Plan

ADVICE = "take one that was trained on this source, or fine-tune it first."


def open_teacher(settings: TrainingSettings, source: Source) -> keras.Model | None:
    """The model that `--teacher` names, in the memory of the CPU; None where none is asked for.

    Raises:
        UserError: if there is no such model, or its classes or channels are not the source's.
    """
    if not settings.teacher:
        return None
    with tf.device("CPU"):
        teacher = models.load(settings.teacher, "teacher")
    compatibility.check_classes(teacher, source, f"--teacher={settings.teacher}", ADVICE)
    # The teacher's first weights took numbers: with this the student has the same ones as without it.
    keras.utils.set_random_seed(settings.seed)
    return teacher


def place_teacher(plan: Plan) -> distilling.Teacher:
    """The run's teacher in its precision, frozen; called where its variables are placed."""
    original = plan.teacher
    model = keras_vit.build(
        original.architecture, preprocessing=original.preprocessing, dtype=plan.runtime.precision, name="teacher"
    )
    model.set_weights(original.get_weights())
    model.trainable = False
    return distilling.Teacher(model, plan.preprocessing)
