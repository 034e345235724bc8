"""The groups that both training commands have, together."""

import dataclasses
import os

from keras_vit.errors import UserError
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.data import BatchSettings, DataSettings, SourceSettings
from trainers.settings.distillation import DistillationSettings
from trainers.settings.optimization import OptimizationSettings
from trainers.settings.run import RunSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings(
    RunSettings,
    OptimizationSettings,
    DistillationSettings,
    AugmentationSettings,
    DataSettings,
    BatchSettings,
    SourceSettings,
):
    """Training."""

    def check(self) -> None:
        self.check_other_run("teacher")
        if self.teacher and self.objective != "softmax":
            raise UserError(
                f"--teacher={self.teacher} is for classes of which each image has one, --objective=softmax, not "
                f"{self.objective}."
            )
        if self.early_stopping and self.validation_split == "none":
            raise UserError(f"--early_stopping={self.early_stopping} needs evaluations, but --validation_split=none.")

    def check_other_run(self, name: str) -> None:
        """Raises UserError if a flag names the run that is about to be made: --overwrite would set it aside."""
        path = getattr(self, name)
        if path and os.path.normpath(path.removesuffix("model.keras")) == os.path.normpath(self.run_dir):
            raise UserError(f"--{name}={path} is --run_dir itself; give the new run a folder of its own.")
