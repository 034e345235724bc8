"""The groups of settings that say what data is read, and what happens to it."""

import dataclasses
import functools
import math

from keras_vit.choices import RESIZES
from keras_vit.errors import UserError
from trainers.settings import splits
from trainers.settings.choices import CACHES, ON_BAD_IMAGE, SAMPLINGS
from trainers.settings.fields import Group, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings(Group):
    """Source."""

    source: str = setting(
        "digits",
        "Where examples come from: folder:DIR, csv:FILE, jsonl:FILE, tfrecord:GLOB, tfds:NAME, vtab:TASK, npz:FILE, "
        "synset_archives:DIR, digits or synthetic; see docs/data.md.",
    )
    data_dir: str | None = setting(
        None, "Where TensorFlow Datasets are kept; its own default if left out.", affects_result=False
    )
    image_feature: str = setting("image", "Name of the encoded image in tfrecord files.")
    label_feature: str = setting("label", "Name of the label, or labels, in tfrecord files.")
    on_bad_image: str = setting(
        "fail",
        "What to do about images that cannot be read: fail, or skip, which leaves them out (weight 0) and lists them.",
        choices=ON_BAD_IMAGE,
        affects_result=False,
    )
    max_bad_share: float = setting(
        0.01,
        "With --on_bad_image=skip, the share of a split beyond which the run stops all the same.",
        affects_result=False,
    )

    def check(self) -> None:
        self.check_within("[0, 1)", "max_bad_share")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSettings(Group):
    """Batches."""

    batch_size: int = setting(128, "Examples per step over all devices.")

    def check(self) -> None:
        self.check_positive("batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings(Group):
    """Training data."""

    train_split: str = setting("train", "What to train on, e.g. train or train[:99%].")
    validation_split: str | None = setting(
        None, "What chooses between checkpoints; 'none' for nothing. The source's validation split if left out."
    )
    test_split: str | None = setting(
        None, "What the finished model is reported on; 'none' for nothing. The source's test split if left out."
    )
    subset: int | None = setting(
        None, "Train on so many examples of the training split, chosen at random; a smaller choice is part of a larger."
    )
    resize: str = setting("bilinear", "Kernel of resizing, in training and at test time.", choices=RESIZES)
    antialias: bool = setting(False, "Whether the kernel widens when an image shrinks, so that every pixel counts.")
    test_crop: float | None = setting(
        None,
        "At test time, side of the central crop in shares of the image's shorter side once resized, e.g. 0.875 for "
        "224 of 256; the whole image is resized if left out.",
    )
    cache: str = setting(
        "auto",
        "Whether encoded images are kept in memory between epochs: auto does so up to 1 GiB of known size. "
        "trainers.prepare makes a copy on disk.",
        choices=CACHES,
        affects_result=False,
    )
    shuffle: bool = setting(True, "Whether each epoch visits the examples in a new random order.")
    sampling: str = setting(
        "natural",
        "natural visits every example once per epoch; balanced visits every class equally often.",
        choices=SAMPLINGS,
    )
    class_weights: str = setting(
        "none",
        "Factors of the losses by class: none, balanced (rarer classes count more, all alike in sum), or "
        "NAME=NUMBER;NAME=NUMBER with 1 for the others.",
    )

    @functools.cached_property
    def class_factors(self) -> dict[str, float]:
        """The factors that `class_weights` gives classes by their names; none for `none` and `balanced`."""
        if self.class_weights in ("none", "balanced"):
            return {}
        factors: dict[str, float] = {}
        for term in self.class_weights.split(";"):
            name, _, number = term.rpartition("=")
            try:
                factors[name] = float(number)
            except ValueError:
                raise UserError(f"--class_weights: {term!r} is not NAME=NUMBER, nor none or balanced.") from None
            if not 0 < factors[name] < math.inf:
                raise UserError(f"--class_weights: the factor of {name!r} must be above 0; got {number}.")
        return factors

    def check(self) -> None:
        for split in (self.train_split, self.validation_split, self.test_split):
            if split not in (None, "none"):
                splits.parse(split)
        self.check_positive("subset")
        self.check_within("(0, 1]", "test_crop")
        if self.sampling != "natural" and not self.shuffle:
            raise UserError(f"--sampling={self.sampling} is an order of its own; it contradicts --noshuffle.")
