"""Data sets that are known by name: what TensorFlow Datasets calls them, their sizes, and what their labels are.

TensorFlow Datasets tells no sizes before a data set is prepared; the ones here serve plans, and show whether what was
prepared is all of it. ImageNet, CIFAR, Pets and Flowers are the data sets of Dosovitskiy et al. 2021, section 4.1; the
parts and labels of VTAB-1k are those of Zhai et al. 2019 as their code has them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import tensorflow as tf


def unchanged(value: tf.Tensor) -> tf.Tensor:
    """A label that is the class already, or the classes."""
    return value


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A labelled set of images that TensorFlow Datasets has, and the task that is learned on it.

    Args:
        name: Name there, `NAME` or `NAME/CONFIG`.
        version: Which versions will do, such as `3.*.*`.
        num_classes: Number of classes of the task.
        sizes: Number of examples of each of its own splits.
        label: The feature that labels are made of.
        parts: Parts of that feature that are needed, where it is a sequence of several.
        classes: Function from the feature's value, a tensor or a dict of the parts, to the example's class, int64, or
            to its classes, int64 (k,).
        several_labels: Whether an example has several classes, or none.
        names: Names of the classes; left out where TensorFlow Datasets has them, or nobody.
        channels: Channels that images are decoded to.
        scale: Factor of the pixels that makes the brightest 255.
        views: Further splits, each an expression over the own ones; where there are any, only they are shown.
    """

    name: str
    version: str
    num_classes: int
    sizes: Mapping[str, int]
    label: str = "label"
    parts: tuple[str, ...] = ()
    classes: Callable = unchanged
    several_labels: bool = False
    names: tuple[str, ...] | None = None
    channels: int = 3
    scale: int = 1
    views: Mapping[str, str] = dataclasses.field(default_factory=dict)


def clevr_count(objects: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Class of a CLEVR scene by its number of objects, which is 3 to 10."""
    return tf.size(objects["size"], tf.int64) - 3


def clevr_distance(objects: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Class of a CLEVR scene by the distance of the object closest to the camera."""
    return steps_below(tf.reduce_min(objects["pixel_coords"][:, 2]), CLEVR_DISTANCES)


def kitti_distance(objects: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Class of a KITTI scene by how many metres ahead the closest car, van or truck is; the last if there is none."""
    is_vehicle = objects["type"] < 3
    distances = tf.where(is_vehicle, objects["location"][:, 2], 1000.0)
    return steps_below(tf.reduce_min(tf.concat([distances, [1000.0]], 0)), KITTI_DISTANCES)


def steps_below(value: tf.Tensor, steps: tuple[float, ...]) -> tf.Tensor:
    """How many of some ascending numbers a value exceeds; one that equals a number does not exceed it, as in VTAB."""
    return tf.searchsorted(tf.constant(steps, value.dtype), value[None], side="left", out_type=tf.int64)[0]


def merged(classes: int, into: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """From one of so many classes to one of fewer, each made of neighbours: floor(class / (classes / into))."""
    return lambda value: value * into // classes


def _each(template: str, values: Iterable) -> tuple[str, ...]:
    return tuple(template.format(value) for value in values)


def _vtab(dataset: Dataset, validation: str, test: str, **task) -> Dataset:
    """A data set as a task of VTAB-1k: 800 examples to train on, 200 to choose by, and both for the final training."""
    train = "train[:800]"
    views = {"train800": train, "val200": validation, "train800val200": f"{train}+{validation}", "test": test}
    return dataclasses.replace(dataset, views=views, **task)


# The inner edges between classes.
CLEVR_DISTANCES = (8.0, 8.5, 9.0, 9.5, 10.0)
KITTI_DISTANCES = (8.0, 20.0, 999.0)

_DIGITS = tuple("0123456789")

# What follows `tfds:`, with the configuration where it is not TFDS's own choice. Where a size is not of the papers
# above, a comment says whose it is.
DATASETS = {
    "imagenet2012": Dataset("imagenet2012", "5.*.*", 1000, {"train": 1_281_167, "validation": 50_000}),
    # TensorFlow Datasets cannot build it; this serves plans, and whoever prepared it under this name.
    "imagenet21k": Dataset("imagenet21k", "*.*.*", 21_843, {"full": 14_197_122}),
    # Beyer et al. 2020: 3,163 of the images have no label.
    "imagenet2012_real": Dataset(
        "imagenet2012_real",
        "1.*.*",
        1000,
        {"validation": 50_000},
        label="real_label",
        several_labels=True,
    ),
    "imagenet_v2": Dataset("imagenet_v2/matched-frequency", "3.*.*", 1000, {"test": 10_000}),  # Recht et al. 2019
    "cifar10": Dataset("cifar10", "3.*.*", 10, {"train": 50_000, "test": 10_000}),
    "cifar100": Dataset("cifar100", "3.*.*", 100, {"train": 50_000, "test": 10_000}),
    # VTAB had version 3; only 4 can be built now, with as many examples.
    "oxford_iiit_pet": Dataset("oxford_iiit_pet", "4.*.*", 37, {"train": 3_680, "test": 3_669}),
    "oxford_flowers102": Dataset(
        "oxford_flowers102", "2.*.*", 102, {"train": 1_020, "validation": 1_020, "test": 6_149}
    ),
    # The numbers of the idx files.
    "mnist": Dataset("mnist", "3.*.*", 10, {"train": 60_000, "test": 10_000}, names=_DIGITS, channels=1),
    "fashion_mnist": Dataset("fashion_mnist", "3.*.*", 10, {"train": 60_000, "test": 10_000}, channels=1),
    "caltech101": Dataset("caltech101", "3.*.*", 102, {"train": 3_060, "test": 6_084}),
    "dtd": Dataset("dtd", "3.*.*", 47, {"train": 1_880, "validation": 1_880, "test": 1_880}),  # thirds of 47 x 120
    "sun397": Dataset("sun397/tfds", "4.*.*", 397, {"train": 76_128, "validation": 10_875, "test": 21_750}),
    "svhn_cropped": Dataset("svhn_cropped", "3.*.*", 10, {"train": 73_257, "test": 26_032}, names=_DIGITS),
    "patch_camelyon": Dataset(
        "patch_camelyon",
        "2.*.*",
        2,
        {"train": 262_144, "validation": 32_768, "test": 32_768},
        names=("no metastasis", "metastasis"),
    ),
    "eurosat": Dataset("eurosat/rgb", "2.*.*", 10, {"train": 27_000}),
    "resisc45": Dataset("resisc45", "3.*.*", 45, {"train": 31_500}),
    "diabetic_retinopathy_detection/btgraham-300": Dataset(
        "diabetic_retinopathy_detection/btgraham-300",
        "3.*.*",
        5,
        {"train": 35_126, "validation": 10_906, "test": 42_670},
        names=_each("grade {}", range(5)),
    ),
    "dmlab": Dataset("dmlab", "2.0.1", 6, {"train": 65_550, "validation": 22_628, "test": 22_735}),
    # Of tutorials. Sizes: TensorFlow Datasets' own; of 25,000 cats and dogs it leaves 1,738 damaged files out.
    "cats_vs_dogs": Dataset("cats_vs_dogs", "4.*.*", 2, {"train": 23_262}),
    "beans": Dataset("beans", "0.1.*", 3, {"train": 1_034, "validation": 133, "test": 128}),
    # Of few-shot evaluation. Sizes: the data sets' own descriptions in TensorFlow Datasets.
    "cars196": Dataset("cars196", "2.1.*", 196, {"train": 8_144, "test": 8_041}),
    "uc_merced": Dataset("uc_merced", "2.*.*", 21, {"train": 2_100}),
}

# Without a class of their own; their labels are the tasks'.
_CLEVR = Dataset("clevr", "3.*.*", 0, {"train": 70_000, "validation": 15_000})
_DSPRITES = Dataset("dsprites", "2.*.*", 0, {"train": 737_280}, scale=255)  # images are of 0 and 1
# VTAB had 3.1.0; TensorFlow Datasets still reads that, but builds only 3.3.0, with as many examples.
_KITTI = Dataset("kitti", "3.*.*", 0, {"train": 6_347, "validation": 423, "test": 711})
# 5 toys each of 5 categories, 6 lightings, 9 elevations, 18 azimuths, on either side.
_SMALLNORB = Dataset("smallnorb", "2.*.*", 0, {"train": 24_300, "test": 24_300})

# What follows `vtab:`. The parts begin and end where the percentages of VTAB, rounded down, have them.
VTAB = {
    "caltech101": _vtab(DATASETS["caltech101"], "train[2754:2954]", "test"),
    "cifar100": _vtab(DATASETS["cifar100"], "train[45000:45200]", "test"),
    "dtd": _vtab(DATASETS["dtd"], "validation[:200]", "test"),
    "oxford_flowers102": _vtab(DATASETS["oxford_flowers102"], "validation[:200]", "test"),
    "oxford_iiit_pet": _vtab(DATASETS["oxford_iiit_pet"], "train[2944:3144]", "test"),
    "sun397": _vtab(DATASETS["sun397"], "validation[:200]", "test"),
    "svhn": _vtab(DATASETS["svhn_cropped"], "train[65931:66131]", "test"),
    "patch_camelyon": _vtab(DATASETS["patch_camelyon"], "validation[:200]", "test"),
    "eurosat": _vtab(DATASETS["eurosat"], "train[16200:16400]", "train[21600:]"),
    "resisc45": _vtab(DATASETS["resisc45"], "train[18900:19100]", "train[25200:]"),
    "diabetic_retinopathy": _vtab(DATASETS["diabetic_retinopathy_detection/btgraham-300"], "validation[:200]", "test"),
    "clevr_count_all": _vtab(
        _CLEVR,
        "train[63000:63200]",
        "validation",
        num_classes=8,
        label="objects",
        parts=("size",),
        classes=clevr_count,
        names=_each("{} objects", range(3, 11)),
    ),
    "clevr_closest_object_distance": _vtab(
        _CLEVR,
        "train[63000:63200]",
        "validation",
        num_classes=6,
        label="objects",
        parts=("pixel_coords",),
        classes=clevr_distance,
        names=("up to 8", "8 to 8.5", "8.5 to 9", "9 to 9.5", "9.5 to 10", "above 10"),
    ),
    "dmlab": _vtab(DATASETS["dmlab"], "validation[:200]", "test"),
    "dsprites_label_x_position": _vtab(
        _DSPRITES,
        "train[589824:590024]",
        "train[663552:]",
        num_classes=16,
        label="label_x_position",
        classes=merged(32, into=16),
        names=_each("x position {0[0]} or {0[1]} of 32", ((i, i + 1) for i in range(0, 32, 2))),
    ),
    "dsprites_label_orientation": _vtab(
        _DSPRITES,
        "train[589824:590024]",
        "train[663552:]",
        num_classes=16,
        label="label_orientation",
        classes=merged(40, into=16),
        names=_each("orientation from {} of 40", (-(-5 * i // 2) for i in range(16))),
    ),
    "kitti_closest_vehicle_distance": _vtab(
        _KITTI,
        "validation[:200]",
        "test",
        num_classes=4,
        label="objects",
        parts=("type", "location"),
        classes=kitti_distance,
        names=("vehicle within 8 m", "vehicle at 8 to 20 m", "vehicle beyond 20 m", "no vehicle"),
    ),
    "smallnorb_label_azimuth": _vtab(
        _SMALLNORB,
        "test[:200]",
        "test[12150:]",
        num_classes=18,
        label="label_azimuth",
        names=_each("azimuth {} degrees", range(0, 360, 20)),
    ),
    "smallnorb_label_elevation": _vtab(
        _SMALLNORB,
        "test[:200]",
        "test[12150:]",
        num_classes=9,
        label="label_elevation",
        names=_each("elevation {} degrees", range(30, 75, 5)),
    ),
}
