"""The group of settings about a teacher, which both training commands have."""

import dataclasses
import os

from keras_vit.errors import UserError
from trainers.settings.fields import setting, table_keys

DISTILLATIONS = table_keys("keras_vit/objectives/distillation.py", "DISTILLATIONS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """Distillation."""

    teacher: str = setting(
        "",
        "Model whose answers to the same images are learned beside the labels: the folder of a run, a weight file of "
        "any format, or a published name. It has the source's classes, and is not trained.",
        affects_result=True,
    )
    distillation: str = setting(
        DISTILLATIONS[0],
        "With --teacher, what is learned from it: its class (hard), or its softened probabilities (soft).",
        choices=DISTILLATIONS,
        affects_result=True,
    )
    distillation_share: float | None = setting(
        None,
        "With --teacher, its share of the loss, the rest being the labels'; 0 or left out: 0.5 for hard, 0.1 for soft.",
        affects_result=True,
    )
    distillation_temperature: float | None = setting(
        None,
        "With --distillation=soft, by what both models' logits are divided; 0 or left out: 3.",
        affects_result=True,
    )


def check_distillation(settings) -> None:
    """Raises UserError for settings about a teacher that cannot be, or have no meaning.

    Args:
        settings: Of a training command.
    """
    given = {"distillation": DISTILLATIONS[0], "distillation_share": None, "distillation_temperature": None}
    if not settings.teacher:
        for name, usual in given.items():
            if getattr(settings, name) != usual:
                raise UserError(f"--{name}={getattr(settings, name)} means nothing without --teacher; give both.")
        return
    check_other_run(settings, "teacher")
    share, temperature = settings.distillation_share, settings.distillation_temperature
    if settings.objective != "softmax":
        raise UserError(
            f"--teacher={settings.teacher} is for classes of which each image has one, --objective=softmax, not "
            f"{settings.objective}."
        )
    if share is not None and not 0 < share <= 1:
        raise UserError(f"--distillation_share must lie in (0, 1]; got {share}.")
    if temperature is not None and settings.distillation != "soft":
        raise UserError(
            f"--distillation_temperature={temperature} is for --distillation=soft, not {settings.distillation}."
        )
    if temperature is not None and temperature <= 0:
        raise UserError(f"--distillation_temperature must be positive; got {temperature}.")


def check_other_run(settings, name: str) -> None:
    """Raises UserError if a flag names the run that is about to be made: --overwrite would set it aside.

    Args:
        settings: Of a training command.
        name: Of the flag.
    """
    path = getattr(settings, name)
    if path and os.path.normpath(path.removesuffix("model.keras")) == os.path.normpath(settings.run_dir):
        raise UserError(f"--{name}={path} is --run_dir itself; give the new run a folder of its own.")
