"""The group of settings about a teacher, which both training commands have."""

import dataclasses

from keras_vit.choices import DISTILLATIONS
from keras_vit.errors import UserError
from trainers.settings.fields import Group, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillationSettings(Group):
    """Distillation."""

    teacher: str = setting(
        "",
        "Model whose answers to the same images are learned beside the labels: the folder of a run, a weight file of "
        "any format, or a published name. It has the source's classes, and is not trained.",
    )
    distillation: str = setting(
        DISTILLATIONS[0],
        "With --teacher, what is learned from it: its class (hard), or its softened probabilities (soft).",
        choices=DISTILLATIONS,
    )
    distillation_share: float | None = setting(
        None,
        "With --teacher, its share of the loss, the rest being the labels'; 0 or left out: 0.5 for hard, 0.1 for soft.",
    )
    distillation_temperature: float | None = setting(
        None, "With --distillation=soft, by what both models' logits are divided; 0 or left out: 3."
    )

    def check(self) -> None:
        defaults = {"distillation": DISTILLATIONS[0], "distillation_share": None, "distillation_temperature": None}
        for name, usual in defaults.items():
            if not self.teacher and getattr(self, name) != usual:
                raise UserError(f"--{name}={getattr(self, name)} means nothing without --teacher; give both.")
        self.check_within("(0, 1]", "distillation_share")
        if self.distillation_temperature is not None and self.distillation != "soft":
            raise UserError(
                f"--distillation_temperature={self.distillation_temperature} is for --distillation=soft, not "
                f"{self.distillation}."
            )
        self.check_positive("distillation_temperature")
