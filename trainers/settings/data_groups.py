"""The groups of settings that say what data is read, and what happens to it."""

import dataclasses

from keras_vit.errors import UserError
from trainers.settings import splits
from trainers.settings.fields import setting, table_keys
from trainers.settings.groups import check_positive

RESIZES = table_keys("keras_vit/images/transform.py", "KERNELS")
ON_BAD_IMAGE = ("fail", "skip")
CACHES = table_keys("trainers/data/cache.py", "CACHES")
SAMPLINGS = table_keys("trainers/data/order.py", "SAMPLINGS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Source."""

    source: str = setting(
        "digits",
        "Where examples come from: folder:DIR, csv:FILE, jsonl:FILE, tfrecord:GLOB, tfds:NAME, vtab:TASK, npz:FILE, "
        "synset_archives:DIR, digits or synthetic; see docs/data.md.",
        affects_result=True,
    )
    data_dir: str | None = setting(
        None, "Where TensorFlow Datasets are kept; its own default if left out.", affects_result=False
    )
    image_feature: str = setting("image", "Name of the encoded image in tfrecord files.", affects_result=True)
    label_feature: str = setting("label", "Name of the label, or labels, in tfrecord files.", affects_result=True)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Batches."""

    batch_size: int = setting(128, "Examples per step over all devices.", affects_result=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Training data."""

    train_split: str = setting("train", "What to train on, e.g. train or train[:99%].", affects_result=True)
    validation_split: str | None = setting(
        None,
        "What chooses between checkpoints; 'none' for nothing. The source's validation split if left out.",
        affects_result=True,
    )
    test_split: str | None = setting(
        None,
        "What the finished model is reported on; 'none' for nothing. The source's test split if left out.",
        affects_result=True,
    )
    subset: int | None = setting(
        None,
        "Train on so many examples of the training split, chosen at random; a smaller choice is part of a larger.",
        affects_result=True,
    )
    resize: str = setting(
        "bilinear", "Kernel of resizing, in training and at test time.", choices=RESIZES, affects_result=True
    )
    antialias: bool = setting(
        False, "Whether the kernel widens when an image shrinks, so that every pixel counts.", affects_result=True
    )
    test_crop: float | None = setting(
        None,
        "At test time, side of the central crop in shares of the image's shorter side once resized, e.g. 0.875 for "
        "224 of 256; the whole image is resized if left out.",
        affects_result=True,
    )
    cache: str = setting(
        "auto",
        "Whether encoded images are kept in memory between epochs: auto does so up to 1 GiB of known size. "
        "trainers.prepare makes a copy on disk.",
        choices=CACHES,
        affects_result=False,
    )
    shuffle: bool = setting(True, "Whether each epoch visits the examples in a new random order.", affects_result=True)
    sampling: str = setting(
        "natural",
        "natural visits every example once per epoch; balanced visits every class equally often.",
        choices=SAMPLINGS,
        affects_result=True,
    )
    class_weights: str = setting(
        "none",
        "Factors of the losses by class: none, balanced (rarer classes count more, all alike in sum), or "
        "NAME=NUMBER;NAME=NUMBER with 1 for the others.",
        affects_result=True,
    )


def check_source(settings: SourceSettings) -> None:
    """Raises UserError for source settings out of range."""
    if not 0 <= settings.max_bad_share < 1:
        raise UserError(f"--max_bad_share must lie in [0, 1); got {settings.max_bad_share}.")


def check_data(settings: DataSettings) -> None:
    """Raises UserError for training-data settings out of range."""
    for name in ("train_split", "validation_split", "test_split"):
        if getattr(settings, name) not in (None, "none"):
            splits.parse(getattr(settings, name))
    check_positive(settings, "subset")
    if settings.sampling != "natural" and not settings.shuffle:
        raise UserError(f"--sampling={settings.sampling} is an order of its own; it contradicts --noshuffle.")
    if settings.test_crop is not None and not 0 < settings.test_crop <= 1:
        raise UserError(f"--test_crop must lie in (0, 1]; got {settings.test_crop}.")
