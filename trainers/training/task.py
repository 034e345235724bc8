"""What a run trains, what it leaves behind, and how that is measured.

For classification the model that is trained is the one that is saved. Masked patch prediction trains another model,
composed of the saved one's layers, and so does a distillation token. A teacher is part of neither.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras

from keras_vit import distilling, masking
from keras_vit.objectives.classification import OBJECTIVES
from keras_vit.objectives.distillation import Distillation
from keras_vit.objectives.masked_patches import MaskedPatches
from trainers.settings.optimization import OptimizationSettings
from trainers.training.plan import Plan
from trainers.training.teacher import place_teacher


class Monitor(NamedTuple):
    """The metric that chooses between evaluations.

    Args:
        metric: Name of one of the objective's metrics.
        mode: Direction of better values: `max` or `min`.
    """

    metric: str
    mode: str

    @property
    def logged(self) -> str:
        """Its name in the logs."""
        return f"val_{self.metric}"

    def best(self, values: Sequence[float]) -> int:
        """Index of the best value, of the first if there are several."""
        choose = {"max": max, "min": min}[self.mode]
        return choose(range(len(values)), key=values.__getitem__)


@dataclasses.dataclass(frozen=True)
class Learner:
    """What a run trains and is measured by.

    Args:
        trained: Model that is trained.
        saved: Model that the run leaves behind: the same, or one that shares its variables.
        objective: Objective of training.
        evaluated_by: Objective of evaluation.
        monitor: Monitor that chooses between evaluations.
        measured: Model that is evaluated: one of those two.
    """

    trained: keras.Model
    saved: keras.Model
    objective: Any
    evaluated_by: Any
    monitor: Monitor
    measured: keras.Model


def learner_of(plan: Plan, make_model: Callable[[], keras.Model]) -> Learner:
    """The learner that the run's settings ask for.

    Args:
        plan: The run.
        make_model: Makes the model that the run leaves behind; called where the run's variables are placed.

    Raises:
        UserError: if the model has no patches to mask.
    """
    settings = plan.settings
    with plan.runtime.placed():
        saved = make_model()
        if settings.masked is None:
            objective: Any = OBJECTIVES[settings.objective](plan.source.num_classes, settings.label_smoothing)
            # Evaluation is about the labels themselves.
            evaluated_by = dataclasses.replace(objective, label_smoothing=0.0)
            if plan.teacher is None:
                return Learner(saved, saved, objective, evaluated_by, monitor_of(settings), saved)
            trained = distilling.student(saved)
            objective = distillation_objective(plan)
            return Learner(trained, saved, objective, evaluated_by, monitor_of(settings), saved)
        objective = masked_objective(plan, settings.masked)
        trained = masking.masked_model(saved, objective.target)
        return Learner(trained, saved, objective, objective, monitor_of(settings), trained)


def monitor_of(settings: OptimizationSettings) -> Monitor:
    """What will choose between evaluations, known before there is a model."""
    if settings.masked is None:
        return Monitor("accuracy", "max")
    # No pixel is right or wrong.
    return Monitor("loss", "min") if settings.masked == "pixels" else Monitor("masked_accuracy", "max")


def distillation_objective(plan: Plan) -> Distillation:
    """The objective of learning from labels and teacher; called where its variables are placed."""
    settings = plan.settings
    return Distillation(
        plan.source.num_classes,
        place_teacher(plan),
        settings.distillation,
        settings.label_smoothing,
        settings.distillation_share,
        settings.distillation_temperature,
    )


def masked_objective(plan: Plan, target: str) -> MaskedPatches:
    """The objective of masked patch prediction on images as the model takes them."""
    scaling = plan.preprocessing
    return MaskedPatches(target, mean=scaling.mean, std=scaling.std)
