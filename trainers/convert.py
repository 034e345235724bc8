"""Converts weights from any format to any other, and checks the result before it says done.

The written file is loaded again, and must answer as the original does on the same images. `--list` shows the published
weights that have names.
"""

import dataclasses
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any

from keras_vit.choices import WEIGHT_FORMATS
from keras_vit.errors import UserError
from trainers.settings import command_line
from trainers.settings.fields import Group, setting

# Largest difference of logits, in shares of the largest logit: float32 rounds that much in deep models.
TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Group):
    """Conversion."""

    input: str = setting(
        "",
        "A run's folder, weight file or folder (KerasHub's presets too), or the name of published weights; see --list.",
    )
    output: str = setting(
        "", "File to write; a folder for huggingface. Of keras, .keras has the whole model, .weights.h5 its weights."
    )
    format: str = setting("keras", "What to write.", choices=WEIGHT_FORMATS)
    change: str = setting(
        "",
        "Fields of the architecture that become others, or that the file does not tell, e.g. "
        "image_size=384;num_classes=10 or heads=4.",
    )
    ignore: str = setting(
        "", "Regular expression over arrays of the file and variables of the model that may be left over or be missing."
    )
    overwrite: bool = setting(False, "Whether what is at --output may be replaced.", affects_result=False)
    list: bool = setting(False, "Show the published weights and stop.", affects_result=False)

    @functools.cached_property
    def changes(self) -> dict[str, Any]:
        """The fields of the architecture that `change` names, with their values."""
        overrides: dict[str, Any] = {}
        for item in filter(None, self.change.split(";")):
            name, equals, value = item.partition("=")
            if not equals or not name.strip():
                raise UserError(f"--change={self.change}: {item!r} is not FIELD=VALUE, e.g. image_size=384.")
            overrides[name.strip()] = _value(value.strip())
        return overrides

    def check(self) -> None:
        if self.list:
            return
        for name in ("input", "output"):
            if not getattr(self, name):
                raise UserError(f"--{name} is needed; --list shows the published weights that have names.")
        if not self.overwrite and os.path.exists(self.output):
            raise UserError(f"--output={self.output} is there already; add --overwrite or name another.")


def _value(text: str) -> Any:
    sides = text.split("x")
    if len(sides) == 2 and all(side.isdigit() for side in sides):
        return int(sides[0]), int(sides[1])
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"none": None, "true": True, "false": False}.get(text.lower(), text)


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> Any:
    """Converts; returns the `LoadReport` of the input. There is no training for callbacks to watch."""
    from keras_vit import weights, writing
    from keras_vit.weights import published
    from trainers.inference import models

    if settings.list:
        print(published.listing())
        return None
    model, report = models.load(settings.input, "input", return_report=True, ignore=settings.ignore, **settings.changes)
    print(report)
    if weights.head_is_zero(model):
        print("The head is all zeros: the file was meant for fine-tuning, and its classes all get the same logit.")
    difference = 0.0

    def write(written):
        nonlocal difference
        weights.save(model, written, format=settings.format)
        difference = largest_difference(model, weights.load(written))
        if difference > TOLERANCE:
            raise UserError(
                f"--output={settings.output}: the written file answers otherwise, by {difference:.1e} of the largest "
                "logit; it was not kept."
            )

    writing.whole(settings.output, write)
    print(f"{settings.output}: {settings.format}, loaded again, logits differ by {difference:.1e} of the largest")
    return report


def largest_difference(one: Any, other: Any) -> float:
    """Between the features, and the logits, of two models for the same noise, in shares of the largest."""
    import keras
    import numpy as np

    images = np.random.default_rng(0).uniform(-1, 1, (2, *one.architecture.image_shape)).astype("float32")

    def answers(model: Any) -> list[Any]:
        # Features too, because a head of zeros says the same of anything.
        both = keras.Model(model.input, [model.get_layer("pre_logits").output, model.output])
        return [np.asarray(values, "float64") for values in both(images)]

    pairs = zip(answers(one), answers(other), strict=True)
    return max(float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-12)) for ours, theirs in pairs)


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "convert"))
