"""Records read by number are the records, whatever their lengths and the order; what is damaged is named."""

import gzip
import os
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data.records import indexing


def write(path, contents):
    with tf.io.TFRecordWriter(str(path)) as file:
        for data in contents:
            file.write(data)
    return str(path)


def labels_of(data):
    """As many classes as the record's first byte says, all that number."""
    first = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, 1), tf.uint8), tf.int64)
    return tf.repeat(first, first)


def no_labels(data):
    return tf.zeros((0,), tf.int64)


def read(index, order):
    numbers = tf.data.Dataset.from_tensor_slices(np.array(order, "int64"))
    return list(numbers.map(indexing.reader(index), num_parallel_calls=4).as_numpy_iterator())


@settings(max_examples=8)
@given(st.data())
def test_any_records_come_back_by_number_in_any_order(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("records")
    lengths = data.draw(st.lists(st.lists(st.integers(0, 5000), max_size=6), min_size=1, max_size=4))
    generator = np.random.default_rng(len(lengths))
    contents = [[generator.bytes(length) for length in of_file] for of_file in lengths]
    files = [write(folder / f"{number}.tfrecord", of_file) for number, of_file in enumerate(contents)]
    index = indexing.index_of(files, no_labels, "none")
    whole = [record for of_file in contents for record in of_file]
    assert index.size == len(whole) and index.lengths.tolist() == list(map(len, whole))
    order = data.draw(st.permutations(range(len(whole))))
    assert read(index, order) == [whole[number] for number in order]


def test_labels_and_places(tmp_path):
    files = [write(tmp_path / "a", [b"\2", b"\0", b"\1x"]), write(tmp_path / "b", []), write(tmp_path / "c", [b"\3yy"])]
    index = indexing.index_of(files, labels_of, "first byte")
    assert index.examples.tolist() == [0, 0, 2, 3, 3, 3] and index.classes.tolist() == [2, 2, 1, 3, 3, 3]
    assert index.file_of.tolist() == [0, 0, 0, 2] and index.offsets.tolist() == [0, 17, 34, 0]
    assert index.locate(2) == f"{files[0]}, record 2" and index.locate(3) == f"{files[2]}, record 0"
    types = [str(array.dtype) for array in index[1:]]
    assert types == ["int32", "int64", "int64", "int64", "int64"]


def test_many_records_of_many_files_keep_their_order(tmp_path):
    contents = [[f"{file} {number}".encode() for number in range(300 + file)] for file in range(3)]
    files = [write(tmp_path / str(number), of_file) for number, of_file in enumerate(contents)]
    index = indexing.index_of(files, no_labels, "none")
    assert read(index, range(index.size)) == [record for of_file in contents for record in of_file]


def test_an_index_of_other_labels_is_another(tmp_path):
    files = [write(tmp_path / "a", [b"\2"])]
    assert len(indexing.index_of(files, no_labels, "none").classes) == 0
    assert len(indexing.index_of(files, labels_of, "first byte").classes) == 2


def test_a_changed_file_is_indexed_again(tmp_path):
    files = [write(tmp_path / "a", [b"one", b"two"])]
    before = indexing.index_of(files, no_labels, "none")
    write(tmp_path / "a", [b"three", b"four", b"five"])
    after = indexing.index_of(files, no_labels, "none")
    assert read(after, [2, 0]) == [b"five", b"three"]
    assert before.fingerprint() != after.fingerprint()


def test_the_fingerprint_is_that_of_the_records_wherever_they_are(tmp_path):
    prints = []
    for name, content in {"here": b"1", "there": b"1", "elsewhere": b"22"}.items():
        (tmp_path / name).mkdir()
        prints.append(indexing.index_of([write(tmp_path / name / "a", [content])], no_labels, "none").fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_a_changed_byte_is_an_error_in_the_graph_and_only_there(tmp_path):
    path = tmp_path / "a"
    files = [write(path, [b"a" * 100, b"b" * 100, b"c" * 100])]
    index = indexing.index_of(files, no_labels, "none")
    data = bytearray(path.read_bytes())
    data[116 + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(tf.errors.DataLossError):
        read(index, [1])
    assert read(index, [2, 0]) == [b"c" * 100, b"a" * 100]


def damaged(data):
    return data[:150] + bytes([data[150] ^ 1]) + data[151:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "damaged, cut short.*record 2, at byte 232 of 347"),
        (lambda data: data[:120], "record 1, at byte 116 of 120"),
        (damaged, "record 1, at byte 116 of 348"),
        (lambda data: data + b"x", "record 3, at byte 348 of 349"),
        (lambda data: b"no record at all, but text", "record 0, at byte 0 of 26.*again, or leave it out"),
        (gzip.compress, "compressed with gzip.*gzip -dc"),
        (zlib.compress, "compressed with zlib.*pigz -dc"),
    ],
)
def test_damaged_files_are_named(tmp_path, damage, message):
    good, bad = (write(tmp_path / name, [b"a" * 100, b"b" * 100, b"c" * 100]) for name in ("good", "bad"))
    with open(bad, "rb") as file:
        content = file.read()
    with open(bad, "wb") as file:
        file.write(damage(content))
    with pytest.raises(ValueError, match=f"^{bad} .*{message}"):
        indexing.index_of([good, bad], no_labels, "none")
    assert not [name for name in os.listdir(tmp_path) if "index" in name]


def test_a_record_that_looks_compressed_is_none(tmp_path):
    """The first bytes of a file are a record's length, and 0x8b1f bytes are a length like any other."""
    path = write(tmp_path / "a", [bytes(0x8B1F)])
    with open(path, "rb") as file:
        assert file.read(2) == b"\x1f\x8b"
    assert indexing.index_of([path], no_labels, "none").size == 1
    with open(path, "ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="record 1, at byte"):
        indexing.index_of([path], no_labels, "none")


def test_labels_that_cannot_be_read_are_named(tmp_path):
    def strict(data):
        with tf.control_dependencies([tf.debugging.assert_less(tf.strings.length(data), 5, "too long")]):
            return tf.zeros((1,), tf.int64)

    files = [write(tmp_path / "a", [b"1"] * 300), write(tmp_path / "b", [b"1", b"22", b"55555"])]
    with pytest.raises(ValueError, match=r"b, record 2, cannot be read.*too long"):
        indexing.index_of(files, strict, "strict")
