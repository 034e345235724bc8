"""The settings of trainers.export."""

import dataclasses
import functools

from keras_vit.choices import PROBABILITIES
from keras_vit.errors import UserError
from trainers.settings import splits
from trainers.settings.choices import EXPORT_FORMATS, TFLITE_BATCHES
from trainers.settings.data import SourceSettings
from trainers.settings.fields import setting, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSettings(SourceSettings):
    """Export."""

    model: str = setting(
        "", "Folder of a run, a .keras file, anybody's weight file or folder, or the name of published weights."
    )
    formats: str = setting(
        "saved_model,tflite",
        f"What to write, separated by commas: {', '.join(EXPORT_FORMATS)}. tflite has int8 weights.",
    )
    output: str = setting("", "Folder of the versions; export/ of the run, or saved_models/NAME/export, if left out.")
    source: str = with_default(SourceSettings, "source", "")
    split: str = setting("test", "Split of --source on which files are held against the model.")
    check_images: int = setting(200, "Images on which they are, from --source or generated.")
    probabilities: str = setting(
        "auto",
        "How logits become probabilities; auto takes sigmoid where the run was trained so, and softmax otherwise.",
        choices=("auto", *PROBABILITIES),
    )
    temperature: float = setting(1.0, "What logits are divided by before.")
    fit_temperature: bool = setting(
        False, "Whether the temperature is fitted to the labels of --calibration_split instead."
    )
    calibration_split: str = setting(
        "validation", "Split of --source for --fit_temperature, and for the value ranges of tflite_full_int8."
    )
    calibration_images: int = setting(100, "Images of it that tflite_full_int8 looks at.")
    top: int = setting(5, "How many of the best classes a SavedModel names.")
    tflite_batch: str = setting(
        "1", "Images that a .tflite takes at a time; dynamic for any number.", choices=TFLITE_BATCHES
    )

    tflite_image_size: int | tuple[int, int] | None = setting(
        None,
        "Size of the images that a .tflite takes, 224 or 224x160 for height x width, for browsers and other runtimes "
        "that want it fixed; files are then compared on images of that size. Any if left out.",
    )

    @functools.cached_property
    def format_names(self) -> list[str]:
        """The formats, each once, in the order asked for."""
        return list(dict.fromkeys(self.formats.split(",")))

    def check(self) -> None:
        if not self.model:
            raise UserError("--model is needed: the folder of a run, a weight file, or the name of published weights.")
        unknown = sorted(set(self.format_names) - set(EXPORT_FORMATS))
        if unknown:
            raise UserError(f"Unknown --formats {unknown[0]!r}; choose among {', '.join(EXPORT_FORMATS)}.")
        self.check_positive("check_images", "calibration_images", "top", "temperature")
        if isinstance(self.tflite_image_size, tuple) and min(self.tflite_image_size) < 1:
            raise UserError(f"--tflite_image_size must be positive; got {self.tflite_image_size}.")
        splits.parse(self.split)
        splits.parse(self.calibration_split)
        for name, needs in (
            ("fit_temperature", self.fit_temperature),
            ("formats", "tflite_full_int8" in self.format_names),
        ):
            if needs and not self.source:
                raise UserError(
                    f"--{name}={getattr(self, name)} needs examples: give --source, and --calibration_split of it."
                )
        if self.fit_temperature and self.temperature != 1:
            raise UserError(f"--fit_temperature finds what --temperature={self.temperature} gives; give one.")
