"""The table of known data sets against what TFDS's code says, and against the published splits and labels."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.tfds import catalog
from trainers.settings import splits

ROWS = {f"tfds:{key}": row for key, row in catalog.DATASETS.items()} | {
    f"vtab:{key}": row for key, row in catalog.VTAB.items()
}
BUILT = {key: row for key, row in ROWS.items() if row.name != "imagenet21k"}


@pytest.fixture(scope="module")
def builder_of(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("empty"))
    return lambda name, **kwargs: tfds.builder(name, data_dir=folder, **kwargs)


@pytest.mark.parametrize("key", BUILT)
def test_tfds_has_it(key, builder_of):
    row = BUILT[key]
    builder = builder_of(row.name, version=row.version)
    assert builder.info.full_name == f"{row.name}/{builder.version}"
    assert builder.version == builder.canonical_version, "only that one can be built"
    assert builder.info.features["image"].shape[-1] in (row.channels, 1)
    label = builder.info.features[row.label]
    label = getattr(label, "feature", label)
    assert set(row.parts) <= set(label if row.parts else ())
    if row.classes is catalog.unchanged:
        assert label.num_classes == row.num_classes
    assert row.names is None or len(set(row.names)) == row.num_classes


@pytest.mark.parametrize("key", [key for key in catalog.DATASETS if key != "imagenet21k"])
def test_key_is_what_tfds_calls_it(key, builder_of):
    """So that `tfds:KEY` here and `tfds.load(KEY)` elsewhere are the same."""
    assert builder_of(key).info.full_name.startswith(f"{catalog.DATASETS[key].name}/")
    assert builder_of(key).info.features["image"].shape[-1] == catalog.DATASETS[key].channels


def test_imagenet21k_has_no_builder(builder_of):
    with pytest.raises(tfds.core.DatasetNotFoundError):
        builder_of("imagenet21k")


def test_what_transforms_rely_on(builder_of):
    assert builder_of("kitti").info.features["objects"]["type"].names[:4] == ["Car", "Van", "Truck", "Pedestrian"]
    features = builder_of("dsprites").info.features
    assert features["label_x_position"].num_classes == 32
    assert features["label_orientation"].num_classes == 40


def test_vtab_has_19_tasks():
    assert len(catalog.VTAB) == 19
    assert all(row.channels == 3 for row in catalog.VTAB.values())


# Base split and percentage at which the 200 begin, and at which the test set begins; and the test set's size.
PUBLISHED = {
    "caltech101": ("train", 90, "test", 0, 6_084),
    "cifar100": ("train", 90, "test", 0, 10_000),
    "dtd": ("validation", 0, "test", 0, 1_880),
    "oxford_flowers102": ("validation", 0, "test", 0, 6_149),
    "oxford_iiit_pet": ("train", 80, "test", 0, 3_669),
    "sun397": ("validation", 0, "test", 0, 21_750),
    "svhn": ("train", 90, "test", 0, 26_032),
    "patch_camelyon": ("validation", 0, "test", 0, 32_768),
    "eurosat": ("train", 60, "train", 80, 5_400),
    "resisc45": ("train", 60, "train", 80, 6_300),
    "diabetic_retinopathy": ("validation", 0, "test", 0, 42_670),
    "clevr_count_all": ("train", 90, "validation", 0, 15_000),
    "clevr_closest_object_distance": ("train", 90, "validation", 0, 15_000),
    "dmlab": ("validation", 0, "test", 0, 22_735),
    "dsprites_label_x_position": ("train", 80, "train", 90, 73_728),
    "dsprites_label_orientation": ("train", 80, "train", 90, 73_728),
    "kitti_closest_vehicle_distance": ("validation", 0, "test", 0, 711),
    "smallnorb_label_azimuth": ("test", 0, "test", 50, 12_150),
    "smallnorb_label_elevation": ("test", 0, "test", 50, 12_150),
}


@pytest.mark.parametrize("task", catalog.VTAB)
def test_vtab_parts(task):
    row = catalog.VTAB[task]
    base, percent, test_base, test_percent, test_size = PUBLISHED[task]

    def part(view):
        return splits.resolve(view, row.sizes, row.views, task)

    begin = percent * row.sizes[base] // 100
    test_begin = test_percent * row.sizes[test_base] // 100
    train, validation = (("train", 0, 800),), ((base, begin, begin + 200),)
    assert list(row.views) == ["train800", "val200", "train800val200", "test"]
    assert part("train800") == train
    assert part("val200") == validation
    assert part("train800val200") == train + validation
    assert part("test") == ((test_base, test_begin, test_begin + test_size),)
    assert test_begin + test_size == row.sizes[test_base]
    assert not splits.overlap(part("train800val200"), part("test"))


@pytest.mark.parametrize("value, expected", [
    (0.1, 0), (7.99, 0), (8.0, 0), (8.01, 1), (8.5, 1), (8.75, 2), (9.0, 2), (9.25, 3), (9.5, 3), (10.0, 4), (10.1, 5),
    (99.0, 5),
])  # fmt: skip
def test_clevr_distance(value, expected):
    objects = {"pixel_coords": tf.constant([[0, 0, value + 3], [5, 1, value], [1, 1, 150]], tf.float32)}
    assert catalog.clevr_distance(objects).numpy() == expected


@pytest.mark.parametrize("count", range(3, 11))
def test_clevr_count(count):
    label = catalog.clevr_count({"size": tf.zeros(count, tf.int64)})
    assert label.dtype == tf.int64
    assert label.numpy() == count - 3
    assert catalog.VTAB["clevr_count_all"].names[label] == f"{count} objects"


@pytest.mark.parametrize("types, metres, expected", [
    ([0], [8.0], 0),
    ([0], [8.01], 1),
    ([1, 0], [30.0, 20.0], 1),
    ([2], [20.1], 2),
    ([0], [-3.0], 0),
    ([3, 1], [1.0, 12.0], 1),  # a pedestrian is closer
    ([3, 4, 5, 6, 7], [1.0, 2.0, 3.0, 4.0, 5.0], 3),
    ([], [], 3),
])  # fmt: skip
def test_kitti_distance(types, metres, expected):
    location = np.array([[0.0, -50.0, metre] for metre in metres], "float32").reshape(-1, 3)
    assert catalog.kitti_distance({"type": tf.constant(types, tf.int64), "location": location}).numpy() == expected


@given(st.floats(0, 120, width=32))
def test_steps_as_vtab_has_them(value):
    """VTAB takes the last of its thresholds, the lowest one included, that lies below the value."""
    thresholds = np.array([-1.0, *catalog.CLEVR_DISTANCES], "float32")
    expected = np.flatnonzero(thresholds - np.float32(value) < 0).max()
    assert catalog.steps_below(tf.constant(value, tf.float32), catalog.CLEVR_DISTANCES).numpy() == expected


@pytest.mark.parametrize("task, count", [("dsprites_label_x_position", 32), ("dsprites_label_orientation", 40)])
def test_merged_labels(task, count):
    row = catalog.VTAB[task]
    labels = row.classes(tf.range(count, dtype=tf.int64)).numpy()
    assert labels.tolist() == [math.floor(label / (count / 16)) for label in range(count)]
    assert set(labels) == set(range(row.num_classes))
    for label, name in enumerate(row.names):
        assert f" {labels.tolist().index(label)} " in name
