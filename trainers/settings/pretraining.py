"""The group of settings that only pre-training has: one more objective, and what belongs to that."""

import dataclasses

from keras_vit.choices import MASKED_TARGETS, OBJECTIVES
from keras_vit.errors import UserError
from trainers.settings.fields import setting
from trainers.settings.optimization import OptimizationSettings

MASKED_PATCHES = "masked_patches"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingSettings(OptimizationSettings):
    """Pre-training."""

    objective: str = setting(
        OptimizationSettings.objective,
        "Loss; masked_patches is the paper's self-supervision: it looks at no labels, and saves a model without head.",
        choices=(*OBJECTIVES, MASKED_PATCHES),
    )
    masked_target: str = setting(
        MASKED_TARGETS[0],
        "With --objective=masked_patches, what is predicted of a masked patch: its mean colour, those of 4x4 parts, or "
        "its pixels.",
        choices=MASKED_TARGETS,
    )

    @property
    def masked(self) -> str | None:
        return self.masked_target if self.objective == MASKED_PATCHES else None

    def check(self) -> None:
        if self.objective != MASKED_PATCHES and self.masked_target != MASKED_TARGETS[0]:
            raise UserError(
                f"--masked_target={self.masked_target} is for --objective={MASKED_PATCHES}, not {self.objective}."
            )


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
