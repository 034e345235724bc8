"""The group of settings that only pre-training has."""

import dataclasses

from keras_vit.errors import UserError
from trainers.settings import groups
from trainers.settings.fields import setting, table_keys

MASKED_PATCHES = "masked_patches"
TARGETS = table_keys("keras_vit/objectives/masked_patches.py", "TARGETS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingSettings:
    """Pre-training."""

    objective: str = setting(
        groups.OptimizationSettings.objective,
        "Loss; masked_patches is the paper's self-supervision: it looks at no labels, and saves a model without head.",
        choices=(*groups.OBJECTIVES, MASKED_PATCHES),
        affects_result=True,
    )
    masked_target: str = setting(
        TARGETS[0],
        "With --objective=masked_patches, what is predicted of a masked patch: its mean colour, those of 4x4 parts, or "
        "its pixels.",
        choices=TARGETS,
        affects_result=True,
    )


def check_pretraining(settings) -> None:
    """Raises UserError for settings without a meaning under the objective.

    Args:
        settings: Of `trainers.pretrain`.
    """
    if settings.objective != MASKED_PATCHES:
        if settings.masked_target != TARGETS[0]:
            raise UserError(
                f"--masked_target={settings.masked_target} is for --objective={MASKED_PATCHES}, not "
                f"{settings.objective}."
            )
        return
    usual = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, reason in WITHOUT_MEANING.items():
        value = getattr(settings, name)
        if value != usual[name]:
            raise UserError(f"--{name}={value}: --objective={MASKED_PATCHES} {reason}; leave it out.")


# Flags that masked patch prediction has no use for, and why.
WITHOUT_MEANING = {
    "label_smoothing": "looks at no labels",
    "class_weights": "looks at no labels",
    "sampling": "looks at no labels",
    "mixup": "has no labels to mix with the images",
    "cutmix": "has no labels to mix with the images",
    "head_bias": "trains no head",
    "representation": "trains no head, of which that layer is part",
}
