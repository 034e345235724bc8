"""Measures of classification against scikit-learn, and their own definitions where that has none."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from keras_vit.evaluation import classification


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_entries_of_the_confusion_matrix_are_those_that_are_not_zero(pairs):
    labels, predictions = np.array(pairs).T
    rebuilt = np.zeros((5, 5), int)
    entries = classification.confusions(labels, predictions)
    for label, prediction, count in entries:
        rebuilt[label, prediction] = count
    np.testing.assert_array_equal(rebuilt, metrics.confusion_matrix(labels, predictions, labels=range(5)))
    counts = [entry.examples for entry in entries]
    assert counts == sorted(counts, reverse=True) and min(counts) > 0


def test_measures_of_each_class_by_hand():
    """Class 2 is only predicted, class 3 neither there nor predicted."""
    measures = classification.per_class([0, 0, 0, 1], [0, 0, 2, 0], 4)
    np.testing.assert_allclose(measures.precision, [2 / 3, np.nan, 0, np.nan])
    np.testing.assert_allclose(measures.recall, [2 / 3, 0, np.nan, np.nan])
    np.testing.assert_allclose(measures.f1, [2 / 3, 0, 0, np.nan])
    assert measures.support.tolist() == [3, 1, 0, 0]
    assert classification.mean(measures.recall) == pytest.approx(1 / 3)
    assert classification.mean(measures.f1) == pytest.approx(2 / 9)


@given(seed=st.integers(0, 10**6), size=st.integers(1, 30), num_classes=st.integers(3, 7), k=st.integers(1, 7))
def test_top_k_is_that_of_scikit_learn_without_ties(seed, size, num_classes, k):
    random = np.random.default_rng(seed)
    scores, labels = random.permuted(np.tile(np.arange(num_classes), (size, 1)), axis=1), np.arange(size) % num_classes
    accuracy = classification.top_k_accuracy(classification.ranks(scores, labels), k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # k that takes in every class
        expected = metrics.top_k_accuracy_score(labels, scores, k=k, labels=range(num_classes))
    assert accuracy == pytest.approx(expected)


@given(seed=st.integers(0, 10**6), num_classes=st.integers(1, 6))
def test_of_equal_scores_the_lower_class_comes_first(seed, num_classes):
    random = np.random.default_rng(seed)
    scores, labels = random.integers(0, 3, (20, num_classes)), random.integers(0, num_classes, 20)
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(classification.ranks(scores, labels), (order == labels[:, None]).argmax(axis=1))


def test_accuracy_needs_an_example():
    assert classification.top_k_accuracy([0, 3, 1, 0], 1) == 0.5
    with pytest.raises(ValueError, match="no example"):
        classification.top_k_accuracy([], 1)


def test_average_precisions_by_hand():
    """Of equal scores the order has no say; a class without examples has no number, and no part in the mean."""
    positives = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 0]])
    scores = np.array([[4, 1, 1], [3, 2, 1], [2, 3, 1], [1, 4, 1]], "float32")
    areas = classification.average_precisions(positives, scores)
    np.testing.assert_allclose(areas, [(1 + 2 / 3) / 2, np.nan, 1 / 2])
    assert classification.mean(areas) == pytest.approx(2 / 3)
    assert np.isnan(classification.mean([np.nan]))
