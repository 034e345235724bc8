"""Batches: a pure function of (seed, step); evaluation that counts every example once."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.preprocessing import Preprocessing
from trainers.data import images, pipeline, sources
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.data import SourceSettings


@pytest.fixture(scope="module")
def digits():
    return sources.open_source(SourceSettings(source="digits"))


SIZE = Preprocessing(size=(16, 16))


def training(split, batch_size=32, augment="affine", size=SIZE, seed=3, **changes):
    """Training data; changes are of the augmentation, or arguments of its own."""
    own = {name: changes.pop(name) for name in ("shuffle", "sampling", "weights", "keep") if name in changes}
    augmentation = AugmentationSettings(augment=augment, **changes)
    return pipeline.TrainingData(split, batch_size, size, augmentation, seed=seed, **own)


def arrays(dataset, count):
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset.take(count)]


def take(opened, count, subset=None, **changes):
    return arrays(training(opened.split("train", subset), **changes).batches(), count)


@pytest.fixture(scope="module")
def mixed(digits):
    """Training data, whose rows are traced once, and the batches of an epoch and a little."""
    data = training(digits.split("train"), mixup=0.5, cutmix=1.0)
    return data, arrays(data.batches(), 45)


@pytest.fixture(scope="module")
def plain(digits):
    """The batches of two epochs without mixing."""
    return take(digits, 81)


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_a_batch_has_the_documented_fields(plain):
    batch = plain[0]
    assert {name: (value.shape, value.dtype.name) for name, value in batch.items()} == {
        "images": ((32, 16, 16, 1), "float32"),
        "labels": ((32,), "int32"),
        "weights": ((32,), "float32"),
        "ids": ((32,), "int64"),
    }
    assert batch["images"].min() >= -1 and batch["images"].max() <= 1
    assert (batch["weights"] == 1).all()


def test_starting_at_a_step_gives_what_an_unbroken_run_gives(mixed):
    data, batches = mixed
    for start in (1, 39, 44):  # 1293 examples: step 40 crosses into the second epoch
        assert same(arrays(data.batches(start), 1)[0], batches[start])


def test_parallelism_does_not_change_a_batch(mixed):
    data, batches = mixed
    serial = tf.data.Options()
    serial.threading.private_threadpool_size = 1
    serial.threading.max_intra_op_parallelism = 1
    assert same(arrays(data.batches().with_options(serial), 1)[0], batches[0])


def test_seeds_differ_and_so_do_epochs_and_rows(digits, plain):
    (other,) = take(digits, 1, seed=4)
    assert not np.array_equal(plain[0]["ids"], other["ids"])
    ids = np.concatenate([batch["ids"] for batch in plain])
    size = digits.splits["train"].size
    assert sorted(ids[:size]) == sorted(ids[size : 2 * size]) == list(range(size))
    assert (ids[:size] == ids[size : 2 * size]).mean() < 0.05


def test_the_same_example_is_augmented_differently_in_another_epoch(plain):
    images, ids = (np.concatenate([batch[name] for batch in plain]) for name in ("images", "ids"))
    first, second = np.flatnonzero(ids == 7)[:2]
    assert not np.array_equal(images[first], images[second])


def test_without_shuffling_and_augmenting_the_source_is_read_in_order(digits):
    (batch,) = take(digits, 1, shuffle=False, augment="none")
    assert list(batch["ids"]) == list(range(32))


@pytest.mark.parametrize("batch_size", [1, 7, 360, 500])
def test_evaluation_counts_every_example_once(digits, batch_size):
    rows = list(pipeline.EvaluationData(digits.split("test"), batch_size, SIZE).batches())
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


def test_hosts_take_slices_of_the_same_global_batch(mixed):
    """Two hosts, in batches of 4 rows, of which 4 make up a host's part of a step."""
    data, batches = mixed
    parts = [list(data.batches(0, share, 2, 4).take(3 * 4)) for share in range(2)]
    for step, batch in enumerate(batches[:3]):
        of_step = [of_host for part in parts for of_host in part[step * 4 : (step + 1) * 4]]
        assert same({name: np.concatenate([each[name] for each in of_step]) for name in batch}, batch)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_batches_hold_each_example_mixed_with_the_one_before_it(digits, kind):
    shares = []
    for plain, batch in zip(
        take(digits, 4, augment="none"), take(digits, 4, augment="none", **{kind: 1.0}), strict=True
    ):
        own, partners = (np.eye(10)[np.roll(plain["labels"], places)] for places in (0, 1))
        different = plain["labels"] != np.roll(plain["labels"], 1)
        (share,) = np.unique((batch["labels"] * own).sum(axis=1)[different].round(5))
        np.testing.assert_allclose(batch["labels"], share * own + (1 - share) * partners, atol=1e-4)
        before = np.roll(plain["images"], 1, axis=0)
        if kind == "mixup":
            np.testing.assert_allclose(batch["images"], share * plain["images"] + (1 - share) * before, atol=1e-4)
        else:
            own_pixels, their_pixels = (batch["images"] == images for images in (plain["images"], before))
            assert (own_pixels | their_pixels).all() and their_pixels.all(axis=0).mean() >= 1 - share - 1e-4
        assert np.array_equal(batch["ids"], plain["ids"])
        shares.append(share)
    assert len(set(shares)) == 4


def test_bad_neighbours_are_not_mixed_with_and_nobody_else_moves(tmp_path, monkeypatch):
    """Files of nothing but pixels, as graphs that can decode any format take seconds to get ready."""
    monkeypatch.setattr(images, "decode", lambda file, _: tf.reshape(tf.io.decode_raw(file, tf.uint8), (8, 8, 3)))
    for number in range(24):
        folder = tmp_path / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(bytes([10 * number]) * (8 * 8 * 3))
    split = sources.open_source(SourceSettings(source=f"folder:{tmp_path}")).split("train")
    data = training(split, 8, "none", Preprocessing(size=(8, 8)), mixup=1.0)

    def batches(shares):
        parts = [list(data.batches(0, share, shares, 8 // shares).take(3)) for share in range(shares)]
        return {name: np.concatenate([part[step][name] for step in range(3) for part in parts]) for name in parts[0][0]}

    before = batches(1)
    pathlib.Path(split.locate(int(before["ids"][3]))).write_bytes(b"no image")
    for after in (batches(1), batches(2)):
        assert np.array_equal(before["ids"], after["ids"])
        changed = [i for i in range(24) if not np.array_equal(before["images"][i], after["images"][i])]
        assert changed == [3, 4] and after["weights"].tolist() == [float(i != 3) for i in range(24)]
        assert len(np.unique(after["images"][4])) == 1 and after["labels"][4].max() == 1


@pytest.mark.parametrize(("rows", "shares"), [(8, 4), (12, 3)])
def test_each_example_is_read_by_exactly_one_host_in_an_epoch(digits, rows, shares):
    batch_size = rows * shares
    data = training(digits.split("train"), batch_size, "none")
    steps = -(-1293 // batch_size)
    ids = [
        [int(i) for batch in data.batches(0, share, shares, rows).take(steps) for i in batch["ids"]]
        for share in range(shares)
    ]
    # In the order of training: each global batch is made of the hosts' rows, one host after the other.
    sequence = [i for step in range(steps) for host in ids for i in host[step * rows : (step + 1) * rows]]
    assert sorted(sequence[:1293]) == list(range(1293))


def test_a_subset_is_all_that_is_seen(digits):
    batches = take(digits, 26, subset=100, batch_size=50, augment="none")
    assert 90 < len({image.tobytes() for batch in batches for image in batch["images"]}) <= 100
    assert digits.split("train", 100).size == 100


def test_class_weights_are_the_rows_weights(digits):
    (batch,) = take(digits, 1, weights={"3": 2.0, "8": 0.5})
    expected = np.where(batch["labels"] == 3, 2.0, np.where(batch["labels"] == 8, 0.5, 1.0))
    assert (batch["weights"] == expected).all() and {2.0, 0.5, 1.0} <= set(batch["weights"])
