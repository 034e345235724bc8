"""The number of shards follows from the examples alone, and each has its share of them."""

import numpy as np
import pytest
import tensorflow as tf

from trainers.data.arrays import from_arrays
from trainers.data.records.shard_plan import plan
from trainers.data.source import Source, Split


def encoded_source(lengths, encoded_bytes=None):
    """Examples of those lengths; one of length 0 cannot be read."""
    held = tf.constant(lengths, tf.int64)

    def read(index):
        with tf.control_dependencies([tf.debugging.assert_positive(held[index])]):
            return tf.strings.reduce_join(tf.repeat("x", held[index])), 0

    split = Split(len(lengths), read, lambda: None, str, encoded_bytes)
    return Source("made", 3, 2, None, {"train": split})


@pytest.mark.parametrize(("shard_bytes", "shards"), [(1000, 1), (999, 2), (251, 4), (250, 4), (1, 10)])
def test_shards_by_what_the_source_says(shard_bytes, shards):
    shard_plan = plan(encoded_source([1] * 10, 1000), "train", "train", shard_bytes)
    assert shard_plan.shards == shards and shard_plan.encoded_bytes == 1000
    begins = [shard_plan.begin(shard) for shard in range(shards + 1)]
    assert begins[0] == 0 and begins[-1] == 10
    assert set(np.diff(begins)) <= {10 // shards, -(-10 // shards)}


def test_sizes_that_nobody_knows_are_estimated_from_some():
    lengths = [10, 30, 0, 20] * 100
    shard_plan = plan(encoded_source(lengths), "train", "train", 1000)
    assert shard_plan.encoded_bytes == pytest.approx(sum(lengths), rel=0.15)
    assert shard_plan.shards == -(-shard_plan.encoded_bytes // 1000)
    assert shard_plan.shards == plan(encoded_source(lengths), "train", "train", 1000).shards


def test_of_pixels_the_size_is_that_of_their_pngs():
    images = np.zeros((20, 64, 64, 3), "uint8")
    source = Source("made", 3, 2, None, {"train": from_arrays("train", images, np.zeros(20, "int32"))})
    assert 20 * 64 < plan(source, "train", "train[:10]", 10).encoded_bytes * 2 < 20 * 64 * 64 * 3 / 10


def test_floats_are_refused():
    images = np.zeros((2, 4, 4, 3), "float32")
    source = Source("made", 3, 2, None, {"train": from_arrays("train", images, np.zeros(2, "int32"))})
    with pytest.raises(ValueError, match=r"made holds images of float32; .* save it as uint8"):
        plan(source, "train", "train", 10)
