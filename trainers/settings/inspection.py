"""The settings of trainers.doctor."""

import dataclasses
import functools
import os

from keras_vit.errors import UserError
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.data import BatchSettings, DataSettings, SourceSettings
from trainers.settings.fields import setting
from trainers.settings.run import check_seed


@dataclasses.dataclass(frozen=True, kw_only=True)
class InspectionSettings(AugmentationSettings, DataSettings, BatchSettings, SourceSettings):
    """Doctor."""

    source: str = setting("", "What to look at: any source, see docs/data.md. Without, this machine is looked at.")
    against: str = setting(
        "", "Sources separated by commas, whose images should not be in this one: the test data of later tasks."
    )
    output: str = setting("", "Folder for the report; without, it is printed only.", affects_result=False)
    image_size: int | tuple[int, int] = setting(
        224, "Input size of the model to be trained: 224, or 224x160 for height x width."
    )
    seed: int = setting(0, "Of the augmentation on the contact sheet.")

    @functools.cached_property
    def others(self) -> list[str]:
        """The sources of `against`."""
        return [name for name in self.against.split(",") if name]

    def check(self) -> None:
        if min(self.image_size if isinstance(self.image_size, tuple) else (self.image_size,)) <= 0:
            raise UserError(f"--image_size must be positive; got {self.image_size}.")
        check_seed(self.seed)
        if self.against and not self.source:
            raise UserError(f"--against={self.against} needs --source: what it is held against.")
        if self.source and self.source in self.others:
            raise UserError(f"--against={self.source} is the --source itself, and has all of its images.")
        for source in (self.source, *self.others):
            _, _, value = source.partition(":")
            inside = os.path.join(os.path.realpath(self.output), "").startswith(
                os.path.join(os.path.realpath(value), "")
            )
            if self.output and os.path.isdir(value) and inside:
                raise UserError(f"--output={self.output} lies in {source}, of which it would become a part.")
