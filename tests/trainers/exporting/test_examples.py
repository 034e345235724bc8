"""The images that exported files are compared on."""

import numpy as np
import pytest
import tensorflow as tf

from trainers.data import arrays
from trainers.data.bad_images import BadImage, BadImages
from trainers.data.source import Source, Split
from trainers.exporting import examples
from trainers.pretrain import Settings


def test_generated_pictures_are_always_the_same_and_all_can_be_read():
    first, again = (examples.generated((32, 48, 3), 8) for _ in range(2))
    assert first.encoded == again.encoded and len(set(first.encoded)) == 8 and first.labels is None
    shapes = [examples.decoded(one, 3).shape for one in first.encoded]
    assert (32, 48, 3) in shapes and len(set(shapes)) == len(examples.SIZES)
    kinds = {(one[:2], shape) for one, shape in zip(first.encoded, shapes, strict=True)}
    assert len(kinds) == 8, "each size both as PNG and as JPEG"


def test_images_of_one_size():
    images_shown = examples.resized(examples.generated((32, 48, 3), 4), (20, 30), 3)
    assert {examples.decoded(one, 3).shape for one in images_shown.encoded} == {(20, 30, 3)}
    assert images_shown.words.endswith("20x30")


@pytest.mark.parametrize("shape", [(8, 8, 1), (1, 1, 3)])
def test_small_and_grey_ones(shape):
    assert len(examples.generated(shape, 4).encoded) == 4


def test_examples_of_a_split_are_spread_over_it_and_keep_their_labels():
    source = arrays.digits("", Settings(steps=1))
    images_shown = examples.from_source(source, "test", 10)
    split = source.split("test")
    images, labels = split.read(tf.constant(0, tf.int64))
    np.testing.assert_array_equal(examples.decoded(images_shown.encoded[0], 1), images)
    assert images_shown.labels[0] == labels and len(images_shown.encoded) == len(images_shown.labels) == 10
    last, _ = split.read(tf.constant(split.size - 1, tf.int64))
    np.testing.assert_array_equal(examples.decoded(images_shown.encoded[-1], 1), last)


def a_source(read, **fields):
    split = Split(4, read, lambda: (np.arange(4), np.zeros(4, int)), str)
    return Source("made up", 3, 2, None, {"test": split}, **fields)


def test_images_that_cannot_be_read_are_left_out_where_asked():
    def read(index):
        with tf.control_dependencies([tf.debugging.assert_less(index % 2, tf.constant(1, tf.int64))]):
            return tf.zeros((2, 2, 3), tf.uint8), tf.cast(index, tf.int32)

    skipping = BadImages("skip", 1.0)
    assert examples.from_source(a_source(read, bad=skipping), "test", 9).labels.tolist() == [0, 2]
    nowhere = a_source(lambda index: (tf.io.read_file("/nowhere"), index), bad=skipping)
    with pytest.raises(ValueError, match="None of the images of test"):
        examples.from_source(nowhere, "test", 9)


def test_images_that_cannot_be_decoded_are_named():
    with pytest.raises(BadImage, match=r"^0 cannot be read: .*--on_bad_image=skip"):
        examples.from_source(a_source(lambda index: (tf.constant("no picture"), index)), "test", 9)


def test_labels_of_several_classes_are_no_labels_here():
    images_shown = examples.from_source(
        a_source(lambda index: (tf.zeros((2, 2, 3), tf.float32), tf.ones(2)), several_labels=True), "test", 2
    )
    assert images_shown.labels is None
