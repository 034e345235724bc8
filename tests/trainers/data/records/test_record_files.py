"""Which split a record file belongs to, by its name."""

import pytest

from trainers.data.records import tfrecord_source


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00010.tfrecord", "train"),
        ("imagenet2012-train.tfrecord-00000-of-01024", "train"),
        ("imagenet2012-validation.tfrecord-00000-of-00064", "validation"),
        ("pets_VAL_3.tfrec", "validation"),
        ("valid7.tfrecords", "validation"),
        ("Testing.record", "test"),
        ("train_test.tfrecord", "test"),
        ("trainer_val.tfrecord", "validation"),
    ],
)
def test_the_last_word_for_a_split_counts(name, split):
    assert tfrecord_source.divided([f"train/{name}"]) == {split: [f"train/{name}"]}


def test_without_a_word_in_any_name_all_are_training():
    assert tfrecord_source.divided(["val/a", "val/contest", "val/trainee"]) == {
        "train": ["val/a", "val/contest", "val/trainee"]
    }


def test_a_name_without_a_word_among_others_is_a_question():
    with pytest.raises(ValueError, match=r"extra.tfrecord says no split"):
        tfrecord_source.divided(["extra.tfrecord", "train.tfrecord"])


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_of_a_folder_those_are_meant_that_look_like_records(tmp_path):
    wanted = ["b.tfrecord", "a.tfrec", "c.TFRecords", "d.tfrecord.gz", "e-0-of-2", "e-1-of-2"]
    touch(tmp_path, *wanted, "features.json", "labels.txt", ".index-1.npz", ".b.tfrecord", "a.idx")
    assert tfrecord_source.record_files(str(tmp_path)) == sorted(str(tmp_path / name) for name in wanted)


def test_a_pattern_means_what_it_fits(tmp_path):
    touch(tmp_path, "train-1", "train-2", "test-1")
    assert tfrecord_source.record_files(f"{tmp_path}/train-*") == [f"{tmp_path}/train-1", f"{tmp_path}/train-2"]
    assert tfrecord_source.record_files(f"{tmp_path}/test-1") == [f"{tmp_path}/test-1"]


def test_a_missing_shard_is_named(tmp_path):
    touch(tmp_path, *(f"train-{number:05d}-of-00004" for number in (0, 3)), "test-00000-of-00001")
    with pytest.raises(ValueError, match="2 of 4 shards are missing, train-00001-of-00004 first"):
        tfrecord_source.record_files(str(tmp_path))
    assert len(tfrecord_source.record_files(f"{tmp_path}/train-*")) == 2


@pytest.mark.parametrize("value", ["", "/nowhere", "/*.tfrecord"])
def test_nothing_there_is_an_error(tmp_path, value):
    with pytest.raises(ValueError, match="no record files there; name"):
        tfrecord_source.record_files(f"{tmp_path}{value}")
