"""What a recipe is, and what several papers share. Standard library only."""

from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """One row of `RECIPES`: what a paper says of one of its trainings.

    Args:
        command: `pretrain` or `finetune`.
        about: Summary of what is trained, on what, for how long.
        expected: The published figure, with its place, or that there is none; empty for one of a grid of settings.
        flags: Values of the command's flags; what is not among them keeps the command's default.
    """

    command: str
    about: str
    expected: str
    flags: dict[str, Any]


def name_of(variant: str) -> str:
    """A variant's name within those of recipes: b16 for B/16, r50_b16 for R50+B/16, r50x1 for BiT-R50x1."""
    return variant.removeprefix("BiT-").replace("/", "").replace("+", "_").lower()


# 1 % of the training images choose between checkpoints, the official validation set reports.
IMAGENET = {
    "source": "tfds:imagenet2012",
    "train_split": "train[:99%]",
    "validation_split": "train[99%:]",
    "test_split": "validation",
}
# TensorFlow Datasets has no builder of it: tfds:imagenet21k serves the plan; to train, convert the archives
# (trainers.prepare --source=synset_archives:DIR --output=imagenet21k) and give --source=tfrecord:imagenet21k.
IMAGENET21K = {
    "source": "tfds:imagenet21k",
    "train_split": "full[1%:]",
    "validation_split": "full[:1%]",
    "test_split": "none",
}
# The same in big_vision's parts.
BIG_VISION_21K = {
    "source": "tfds:imagenet21k",
    "train_split": "full[51200:]",
    "validation_split": "full[25600:51200]",
    "test_split": "full[:25600]",
}
# JFT-300M is not public, so that no source is named: give one of your own of its kind, many images, each with any
# number of labels. Lengths are in examples, 303,000,000 to an epoch.
NOT_PUBLIC = {"source": ""}
JFT = 303_000_000

AT_224 = {"image_size": 224, "augment": "inception", "flip": True, "precision": "mixed_bfloat16"}
# A loss of each class on its own.
SIGMOID = {"objective": "sigmoid", "head_bias": -10.0}
