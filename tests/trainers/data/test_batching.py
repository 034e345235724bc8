"""Orders of examples: permutations in every epoch, or all classes equally often; nothing but arithmetic."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data import arrays, batching


def split_of(labels):
    return arrays.from_arrays("x", np.zeros((len(labels), 1, 1, 1), "uint8"), labels)


def sequence(index_of, count, start=0):
    return [int(i) for i in tf.data.Dataset.range(start, start + count).map(index_of).as_numpy_iterator()]


@settings(max_examples=20)
@given(size=st.integers(1, 300), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 5))
def test_every_epoch_is_a_permutation(size, seed, epoch):
    index_of = batching.natural(split_of(np.zeros(size, "int64")), seed)
    assert sorted(sequence(index_of, size, epoch * size)) == list(range(size))


def test_sets_with_different_salts_are_not_shuffled_in_step():
    one, other = (
        [int(batching.shuffled(tf.constant(i, tf.int64), 50, 3, salt=salt)) for i in range(50)] for salt in (1, 2)
    )
    assert sorted(one) == sorted(other) and np.mean(np.equal(one, other)) < 0.2


LABELS = np.array([0] * 60 + [1] * 7 + [3] * 1 + [4] * 2)  # nobody is of class 2


def test_balanced_sampling_visits_every_class_equally_often():
    index_of = batching.balanced(split_of(LABELS), 5)
    indices = sequence(index_of, 4 * 60)
    classes = LABELS[indices]
    for begin in range(0, len(classes), 4):
        assert sorted(classes[begin : begin + 4]) == [0, 1, 3, 4]
    assert len({tuple(classes[begin : begin + 4]) for begin in range(0, 40, 4)}) > 1
    # Within a class, everybody once before anybody twice.
    seen = collections.Counter(indices)
    assert {seen[i] for i in range(60)} == {1} and seen[67] == 60
    assert {seen[i] for i in range(60, 67)} == {8, 9} and {seen[68], seen[69]} == {30}


def test_balanced_sampling_starts_anywhere():
    index_of = batching.balanced(split_of(LABELS), 5)
    assert sequence(index_of, 30, 100) == sequence(index_of, 130)[100:]


def test_balanced_sampling_with_several_labels():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]], "float32")
    indices = sequence(batching.balanced(split_of(labels), 0), 30)
    assert 2 not in indices  # it belongs to no class
    assert collections.Counter(indices)[0] == 15 + 5
    with pytest.raises(ValueError, match="none here"):
        batching.balanced(split_of(labels[2:3]), 0)
