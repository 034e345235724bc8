"""Anybody's record files as a source: what is in them is found out, or the error says what is missing."""

import types

import numpy as np
import pytest
import tensorflow as tf

from trainers.data.records.tfrecord_source import tfrecord

NAMES = types.SimpleNamespace(image_feature="image", label_feature="label")


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def write(path, examples):
    with tf.io.TFRecordWriter(str(path)) as file:
        for example in examples:
            features = tf.train.Features(feature={key: feature(value) for key, value in example.items()})
            file.write(tf.train.Example(features=features).SerializeToString())
    return str(path)


def labelled(*labels):
    return [{"image": f"{number} {label}".encode(), "label": label} for number, label in enumerate(labels)]


def read(split):
    rows = tf.data.Dataset.range(split.size).map(split.read, num_parallel_calls=2)
    return [(image, label.tolist()) for image, label in rows.as_numpy_iterator()]


def test_one_class_each(tmp_path):
    write(tmp_path / "train-0-of-2.tfrecord", labelled([3], [0]))
    write(tmp_path / "train-1-of-2.tfrecord", labelled([1]))
    write(tmp_path / "val.tfrecord", labelled([5]))
    source = tfrecord(str(tmp_path), NAMES)
    assert (source.num_classes, source.several_labels, source.class_names) == (6, False, None)
    assert source.names == ("train", "validation") and source.splits["train"].size == 3
    assert read(source.splits["train"]) == [(b"0 [3]", 3), (b"1 [0]", 0), (b"0 [1]", 1)]
    assert [array.tolist() for array in source.splits["train"].positives()] == [[0, 1, 2], [3, 0, 1]]
    assert source.splits["train"].locate(2) == f"{tmp_path}/train-1-of-2.tfrecord, record 0"
    assert source.splits["validation"].encoded_bytes == tf.io.gfile.stat(f"{tmp_path}/val.tfrecord").length - 16


@pytest.mark.parametrize("labels", [([2, 0], [1], []), ([2], [1], [])])
def test_several_classes_or_none_become_zeros_and_ones(tmp_path, labels):
    source = tfrecord(write(tmp_path / "a.tfrecord", labelled(*labels, [2, 2])), NAMES)
    assert (source.num_classes, source.several_labels) == (3, True)
    expected = [[float(number in of_record) for number in range(3)] for of_record in (*labels, [2])]
    assert [label for _, label in read(source.splits["train"])] == expected


def test_features_go_by_other_names(tmp_path):
    rows = [{"image/encoded": b"jpeg", "image/class/label": [7], "image": b"no"}]
    settings = types.SimpleNamespace(image_feature="image/encoded", label_feature="image/class/label")
    source = tfrecord(write(tmp_path / "a.tfrecord", rows), settings)
    assert read(source.splits["train"]) == [(b"jpeg", 7)] and source.num_classes == 8


def test_the_fingerprint_follows_the_labels(tmp_path):
    prints = {tfrecord(write(tmp_path / "a", labelled([label])), NAMES).fingerprint for label in (1, 2, 1)}
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            {"image": b"", "class": [1]},
            r"--label_feature=label .* integers; .* has class \(integers\), image \(bytes\)",
        ),
        (
            {"label": [1], "picture": b""},
            r"--image_feature=image .* bytes; .* has label \(integers\), picture \(bytes\)",
        ),
        ({"image": b"", "label": b"dog"}, r"label \(bytes\)"),
        ({"image": b"", "label": 1.0}, r"label \(floats\)"),
        ({"image": b"", "label": [-1]}, r"record 0, has label -1 in label; classes are counted from 0"),
        ({"image": b"", "label": []}, r"no record has a label"),
        ({}, r"the first record has none"),
    ],
)
def test_what_is_not_there_is_said(tmp_path, example, message):
    path = write(tmp_path / "a.tfrecord", [example])
    with pytest.raises(ValueError, match=f"^--source=tfrecord:{path}: .*{message}"):
        tfrecord(path, NAMES)


def test_records_of_something_else_are_named(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as file:
        file.write(b"\xff\xff not an example")
    with pytest.raises(ValueError, match=r"first record of .*a.tfrecord is no tf.train.Example"):
        tfrecord(path, NAMES)


def test_a_record_of_other_kind_farther_on_is_named(tmp_path):
    path = write(tmp_path / "a.tfrecord", [*labelled([1], [1]), {"image": b"", "label": b"dog"}])
    with pytest.raises(ValueError, match=r"a.tfrecord, record 2, cannot be read"):
        tfrecord(path, NAMES)


def test_a_record_without_an_image_is_an_error_of_its_own(tmp_path):
    path = write(tmp_path / "a.tfrecord", [*labelled([1]), {"label": [1]}, *labelled([0])])
    split = tfrecord(path, NAMES).splits["train"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="image"):
        read(split)
    assert split.read(tf.constant(2, tf.int64))[0].numpy() == b"0 [0]"


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08 packed", b"<html>"])
def test_files_that_hold_no_records(tmp_path, content):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"--source=tfrecord:.*(no records|gzip|damaged)"):
        tfrecord(str(path), NAMES)


@pytest.mark.parametrize("value", ["", "/nowhere/*"])
def test_no_files(value):
    with pytest.raises(ValueError, match=f"^--source=tfrecord:{value.replace('*', '.')}: .*pattern"):
        tfrecord(value, NAMES)


def test_tables_of_offsets_are_not_part_of_the_graph(tmp_path):
    source = tfrecord(write(tmp_path / "a", labelled(*([[number % 3] for number in range(2000)]))), NAMES)
    graph = tf.function(source.splits["train"].read).get_concrete_function(tf.TensorSpec((), tf.int64)).graph
    assert len(graph.as_graph_def().SerializeToString()) < 2000 * 8
    assert np.bincount(source.splits["train"].positives()[1]).tolist() == [667, 667, 666]
