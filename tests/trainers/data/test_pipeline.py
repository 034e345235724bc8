"""Batches: a pure function of (seed, step); evaluation that counts every example once."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers import pretrain
from trainers.data import pipeline, sources


@pytest.fixture(scope="module")
def digits():
    return sources.open_source(pretrain.Settings(source="digits", steps=1))


def settings_for(**changes):
    base = {"source": "digits", "image_size": 16, "batch_size": 32, "augment": "affine", "seed": 3, "steps": 1}
    return pretrain.Settings(**{**base, **changes})


def take(opened, count, start_step=0, **changes):
    dataset = pipeline.batches(opened, settings_for(**changes), start_step)
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset.take(count)]


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_a_batch_has_the_documented_fields(digits):
    (batch,) = take(digits, 1)
    assert {name: (value.shape, value.dtype.name) for name, value in batch.items()} == {
        "images": ((32, 16, 16, 1), "float32"),
        "labels": ((32,), "int32"),
        "weights": ((32,), "float32"),
        "ids": ((32,), "int64"),
    }
    assert batch["images"].min() >= -1 and batch["images"].max() <= 1
    assert (batch["weights"] == 1).all()


def test_starting_at_a_step_gives_what_an_unbroken_run_gives(digits):
    whole = take(digits, 45)
    for start in (1, 39, 44):  # 1293 examples: step 40 crosses into the second epoch
        assert same(take(digits, 1, start_step=start)[0], whole[start])


def test_parallelism_does_not_change_a_batch(digits):
    dataset = pipeline.batches(digits, settings_for())
    serial = tf.data.Options()
    serial.threading.private_threadpool_size = 1
    serial.threading.max_intra_op_parallelism = 1
    one = next(iter(dataset.with_options(serial)))
    other = next(iter(dataset))
    assert same({k: v.numpy() for k, v in one.items()}, {k: v.numpy() for k, v in other.items()})


def test_seeds_differ_and_so_do_epochs_and_rows(digits):
    one, other = take(digits, 1)[0], take(digits, 1, seed=4)[0]
    assert not np.array_equal(one["ids"], other["ids"])
    ids = np.concatenate([batch["ids"] for batch in take(digits, 81)])
    size = digits.splits["train"].size
    assert sorted(ids[:size]) == sorted(ids[size : 2 * size]) == list(range(size))
    assert (ids[:size] == ids[size : 2 * size]).mean() < 0.05


def test_the_same_example_is_augmented_differently_in_another_epoch(digits):
    batches = take(digits, 81)
    images = np.concatenate([batch["images"] for batch in batches])
    ids = np.concatenate([batch["ids"] for batch in batches])
    first, second = np.flatnonzero(ids == 7)[:2]
    assert not np.array_equal(images[first], images[second])


def test_without_shuffling_and_augmenting_the_source_is_read_in_order(digits):
    (batch,) = take(digits, 1, shuffle=False, augment="none")
    assert list(batch["ids"]) == list(range(32))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 5))
def test_every_epoch_is_a_permutation(size, seed, epoch):
    positions = tf.range(epoch * size, (epoch + 1) * size, dtype=tf.int64)
    order = [int(pipeline.example_index(position, size, seed)) for position in positions]
    assert sorted(order) == list(range(size))


@pytest.mark.parametrize("batch_size", [1, 7, 360, 500])
def test_evaluation_counts_every_example_once(digits, batch_size):
    rows = list(pipeline.evaluation_batches(digits, "test", settings_for(batch_size=batch_size)))
    assert {batch["images"].shape[0] for batch in rows} == {batch_size}
    weights = np.concatenate([batch["weights"].numpy() for batch in rows])
    ids = np.concatenate([batch["ids"].numpy() for batch in rows])
    assert weights.sum() == 360
    assert list(ids[weights == 1]) == list(range(360))


def test_the_digits_are_split_once_and_for_all(digits):
    sizes = {name: split.size for name, split in digits.splits.items()}
    assert sizes == {"train": 1293, "validation": 144, "test": 360}
    _, labels = digits.splits["test"].read(tf.range(360, dtype=tf.int64))
    counts = np.bincount(labels.numpy())
    assert counts.min() >= 34 and counts.max() <= 38
    assert list(labels.numpy()[:8]) == FIRST_TEST_LABELS


FIRST_TEST_LABELS = [7, 6, 3, 7, 7, 3, 2, 8]


def test_parts_of_a_split(digits):
    first, rest = digits.split("train[:98%]"), digits.split("train[98%:]")
    assert first.size + rest.size == 1293
    whole = digits.split("train")
    image, _ = rest.read(tf.constant(0, tf.int64))
    expected, _ = whole.read(tf.constant(first.size, tf.int64))
    assert np.array_equal(image, expected)
    with pytest.raises(ValueError, match="empty"):
        digits.split("test[:0.1%]")


def test_a_prepared_tfds_dataset_is_read_by_number(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    images = np.random.default_rng(0).integers(0, 255, (6, 20, 30, 3)).astype("uint8")

    def rows():
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": np.arange(6) % 2})

    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        data_dir=tmp_path,
        features=tfds.features.FeaturesDict(
            {"image": tfds.features.Image(encoding_format="png"), "label": tfds.features.ClassLabel(num_classes=2)}
        ),
        split_datasets={"train": rows()},
        file_format="array_record",
    )
    monkeypatch.setitem(sources.TFDS_SIZES, "tiny", (2, {"train": 6}))
    changes = {"source": "tfds:tiny", "data_dir": str(tmp_path), "batch_size": 6, "image_size": 16}
    opened = sources.open_source(settings_for(**changes))
    opened.ready()
    (batch,) = take(opened, 1, augment="inception", **changes)
    assert batch["images"].shape == (6, 16, 16, 3) and sorted(batch["labels"]) == [0, 0, 0, 1, 1, 1]
    (again,) = take(opened, 1, augment="inception", **changes)
    assert same(batch, again)


def test_an_unprepared_tfds_dataset_says_what_to_do(tmp_path):
    opened = sources.open_source(settings_for(source="tfds:imagenet2012", data_dir=str(tmp_path)))
    assert opened.split("train[:99%]").size == 1268355
    with pytest.raises(ValueError, match="download_and_prepare"):
        opened.ready()


def test_settings_have_no_random_state_of_their_own():
    assert {field.name for field in dataclasses.fields(pretrain.Settings)} >= {"seed", "shuffle", "augment"}
