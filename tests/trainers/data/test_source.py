"""Parts, unions and subsets of splits: the right examples, the same for reading, class lists and names."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data import arrays, source
from trainers.data.source import Source


def numbered(name, first, size, several=False):
    """A split whose images and labels tell which example they are."""
    images = np.arange(first, first + size, dtype="uint8")[:, None, None, None]
    labels = np.arange(first, first + size) % 5
    return arrays.from_arrays(name, images, np.eye(5, dtype="float32")[labels] if several else labels)


@pytest.fixture(scope="module", params=[False, True], ids=["one label", "several"])
def opened(request):
    splits = {"train": numbered("train", 0, 20, request.param), "test": numbered("test", 100, 8, request.param)}
    return Source("numbers", 1, 5, None, splits, views={})


def values(split):
    """Example numbers in a split's order, by way of the graph."""
    rows = tf.data.Dataset.range(split.size).map(split.read)
    return [int(image[0, 0, 0]) for image, _ in rows.as_numpy_iterator()]


def check(split, expected):
    """That reading, class lists and names agree on which examples these are."""
    assert split.size == len(expected) and values(split) == expected
    examples, classes = split.positives()
    assert list(examples) == list(range(split.size))
    assert list(classes) == [(value % 100 if value < 100 else value) % 5 for value in expected]
    names = [f"train[{value}]" if value < 100 else f"test[{value - 100}]" for value in expected]
    assert [split.locate(index) for index in range(split.size)] == names


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", range(20)),
        ("train[5:9]", range(5, 9)),
        ("train[-2:]", [18, 19]),
        ("train[:3]+test", [0, 1, 2, *range(100, 108)]),
        ("test[50%:]+train[:10%]", [104, 105, 106, 107, 0, 1]),
        ("train[:2]+train[10:12]+test[:1]", [0, 1, 10, 11, 100]),
    ],
)
def test_expressions_name_the_right_examples(opened, expression, expected):
    check(opened.split(expression), list(expected))


def test_a_subset_is_part_of_every_larger_one(opened):
    whole, *sets = (opened.split("train[:18]+test", size) for size in (None, 1, 7, 8, 26))
    everything, *subsets = map(values, (whole, *sets))
    for smaller, larger in itertools.pairwise(subsets):
        assert smaller == larger[: len(smaller)]
    assert sorted(subsets[-1]) == sorted(everything) and subsets[-1] != everything
    check(sets[2], subsets[2])
    with pytest.raises(ValueError, match="more than the 26 examples"):
        opened.split("train[:18]+test", 27)


@settings(max_examples=20)
@given(st.permutations(range(20)), st.integers(1, 20))
def test_any_rearrangement(order, size):
    split = numbered("train", 0, 20)
    held = tf.constant(order, tf.int64)
    check(source.rearranged(split, size, lambda index: tf.gather(held, index)), list(order[:size]))


def test_views_hide_the_own_splits():
    viewed = Source("numbers", 1, 5, None, {"train": numbered("train", 0, 20)}, views={"small": "train[:3]"})
    assert viewed.names == ("small",)
    check(viewed.split("small"), [0, 1, 2])
