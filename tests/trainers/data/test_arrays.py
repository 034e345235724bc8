"""The `npz` source: what it reads, and what it says of files that it cannot read."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.preprocessing import Preprocessing
from trainers.data import sources
from trainers.data.augmentation import crops, recipe
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.data import SourceSettings

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (6, 8, 10, 3)).astype("uint8")
SCALED = (IMAGES / np.float32(127.5) - 1).astype("float32")
LABELS = np.array([3, 0, 1, 3, 2, 0])
SHARES = GENERATOR.dirichlet(np.ones(5), 6).astype("float32")


@pytest.fixture
def opened(tmp_path):
    """Writes arrays and opens the file as a source."""

    def open_arrays(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return sources.open_source(SourceSettings(source=f"npz:{tmp_path}/data.npz"))

    return open_arrays


def examples(split):
    """All images and labels of a split, read one by one inside a graph."""
    rows = tf.data.Dataset.range(split.size).map(split.read)
    images, labels = zip(*rows.as_numpy_iterator(), strict=True)
    return np.stack(images), np.stack(labels)


def fed(split, transformation, index=0):
    """What a transformation makes of one example, for a model of the images' own size."""
    image, _ = split.read(tf.constant(index, tf.int64))
    settings = AugmentationSettings(augment=transformation)
    return recipe.augment(image, tf.constant([0, 1], tf.int64), 3, Preprocessing(size=(8, 10)), settings).numpy()


def test_bytes_are_read_as_they_are(opened):
    source = opened(images=IMAGES, labels=LABELS)
    images, labels = examples(source.splits["train"])
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == "uint8" and labels.dtype == "int32"
    assert (list(source.splits), source.channels, source.num_classes, source.class_names) == (["train"], 3, 4, None)


def test_scaled_images_reach_the_model_as_they_are(opened):
    split = opened(images=SCALED, labels=LABELS).splits["train"]
    for index in range(6):
        np.testing.assert_allclose(fed(split, "none", index), SCALED[index], rtol=0, atol=2e-7)


@pytest.mark.parametrize("transformation", crops.AUGMENTATIONS)
def test_scaled_images_and_bytes_are_the_same_pictures(transformation, opened):
    scaled = fed(opened(images=SCALED, labels=LABELS).splits["train"], transformation)
    of_bytes = fed(opened(images=IMAGES, labels=LABELS).splits["train"], transformation)
    np.testing.assert_allclose(scaled, of_bytes, rtol=0, atol=1e-5)


@pytest.mark.parametrize("labels", [LABELS, SHARES], ids=["integers", "shares"])
def test_batches_are_read_one_after_the_other(labels, opened):
    flat = opened(images=IMAGES, labels=labels)
    batched = opened(images=IMAGES.reshape(3, 2, 8, 10, 3), labels=labels.reshape(3, 2, *labels.shape[1:]))
    assert batched.splits["train"].size == 6 and batched.num_classes == flat.num_classes
    for of_batched, of_flat in zip(examples(batched.splits["train"]), examples(flat.splits["train"]), strict=True):
        np.testing.assert_array_equal(of_batched, of_flat)


def test_classes_are_counted_over_all_splits(opened):
    source = opened(
        images=IMAGES, labels=LABELS, validation_images=IMAGES[:2], validation_labels=LABELS[:2],
        test_images=IMAGES[:1], test_labels=[8],
    )  # fmt: skip
    assert {name: split.size for name, split in source.splits.items()} == {"train": 6, "validation": 2, "test": 1}
    assert source.num_classes == 9
    assert opened(images=IMAGES, labels=SHARES, test_images=IMAGES, test_labels=LABELS).num_classes == 5


WRONG = {
    "no images": ({"labels": LABELS}, ["no array images; it has labels."]),
    "no labels": ({"images": IMAGES}, ["no array labels"]),
    "weights": ({f"layer_{i}": LABELS for i in range(9)}, ["it has layer_0, layer_1, layer_2, ", "layer_5, ..."]),
    "half a split": ({"images": IMAGES, "labels": LABELS, "test_labels": LABELS}, ["no array test_images"]),
    "float64": ({"images": IMAGES / 255, "labels": LABELS}, ["uint8 or float32", "float64"]),
    "one image": ({"images": IMAGES[0], "labels": LABELS}, ["(N, H, W, C)", "(8, 10, 3)"]),
    "lengths": ({"images": IMAGES, "labels": LABELS[:5]}, ["integers of (6,), for so many images", "int64 of (5,)"]),
    "no examples": ({"images": IMAGES[:0], "labels": LABELS[:0]}, ["none of them 0", "(0, 8, 10, 3)"]),
    "column of labels": (
        {"images": IMAGES, "labels": LABELS[:, None]},
        ["labels must be integers of (6,)", "int64 of (6, 1)"],
    ),
    "float labels": ({"images": IMAGES, "labels": LABELS * 1.0}, ["shares of classes", "float64 of (6,)"]),
    "names for labels": ({"images": IMAGES, "labels": ["cat"] * 6}, ["labels must be integers", "<U3"]),
    "unscaled": ({"images": IMAGES.astype("float32"), "labels": LABELS}, ["images must lie in [-1, 1]", "to 255"]),
    "nan": ({"images": np.where(SCALED > 0.9, np.nan, SCALED).astype("f4"), "labels": LABELS}, ["[-1, 1]", "nan"]),
    "inf": ({"images": np.where(SCALED > 0.9, np.inf, SCALED).astype("f4"), "labels": LABELS}, ["[-1, 1]", "inf"]),
    "negative": ({"images": IMAGES, "labels": LABELS - 1}, ["labels must lie in [0, ", "got -1 to 2"]),
    "share above 1": ({"images": IMAGES, "labels": SHARES * 9}, ["labels must lie in [0, 1]"]),
    "objects": ({"images": IMAGES, "labels": np.array([{}] * 6)}, ["plain, undamaged arrays", "allow_pickle=False"]),
    "channels": (
        {"images": IMAGES, "labels": LABELS, "test_images": IMAGES[..., :1], "test_labels": LABELS},
        ["differ", "channels"],
    ),
    "classes": (
        {"images": IMAGES, "labels": SHARES, "test_images": IMAGES, "test_labels": LABELS + 4},
        ["differ", "classes"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_named_in_one_line(case, opened):
    arrays, fragments = WRONG[case]
    with pytest.raises(ValueError) as error:
        opened(**arrays)
    assert all(fragment in str(error.value) for fragment in ["--source=npz:", "data.npz", *fragments]), error.value
    assert "\n" not in str(error.value)


def bytes_of(write, *arguments):
    buffer = io.BytesIO()
    write(buffer, *arguments)
    return buffer.getvalue()


def zipped(file, *names):
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"JPEG")


WHOLE = bytes_of(lambda file: np.savez(file, images=IMAGES, labels=LABELS))
FILES = {
    "empty": b"",
    "text": b"images and labels",
    "one array": bytes_of(np.save, IMAGES),
    "pickle": pickle.dumps({"images": 1}),
    "cut off": WHOLE[: len(WHOLE) // 2],
    "damaged": WHOLE[:300] + b"\0" * 40 + WHOLE[340:],
    "other zip": bytes_of(zipped, "images", "labels"),
}


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_refused_in_one_line(name, tmp_path):
    (tmp_path / "data.npz").write_bytes(FILES[name])
    with pytest.raises(ValueError, match=r"--source=npz:.*data\.npz") as error:
        sources.open_source(SourceSettings(source=f"npz:{tmp_path}/data.npz"))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.npz: no such file"):
        sources.open_source(SourceSettings(source=f"npz:{tmp_path}/nothing.npz"))
    with pytest.raises(ValueError, match="no such file"):
        sources.open_source(SourceSettings(source=f"npz:{tmp_path}"))
    with pytest.raises(ValueError, match="npz needs a file"):
        sources.open_source(SourceSettings(source="npz"))
