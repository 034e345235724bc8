"""Measures of classification against scikit-learn, and their own definitions where that has none."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from keras_vit.evaluation import classification


@st.composite
def answered(draw):
    """Labels, predictions, weights and the number of classes; some classes without examples or predictions."""
    num_classes = draw(st.integers(2, 6))
    size = draw(st.integers(1, 30))
    classes = st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size)
    weights = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size).filter(any))
    return np.array(draw(classes)), np.array(draw(classes)), np.array(weights), num_classes


@given(answered())
def test_the_confusion_matrix_is_that_of_scikit_learn(case):
    labels, predictions, weights, num_classes = case
    found = classification.confusion_matrix(labels, predictions, num_classes, weights)
    expected = metrics.confusion_matrix(labels, predictions, labels=range(num_classes), sample_weight=weights)
    np.testing.assert_array_equal(found, expected)
    entries = classification.confusions(labels, predictions, weights)
    rebuilt = np.zeros_like(found)
    for label, prediction, count in entries:
        rebuilt[label, prediction] = count
    np.testing.assert_array_equal(rebuilt, expected)
    counts = [entry.examples for entry in entries]
    assert counts == sorted(counts, reverse=True) and min(counts) > 0


@given(answered())
def test_measures_of_each_class_are_those_of_scikit_learn(case):
    labels, predictions, weights, num_classes = case
    found = classification.per_class(labels, predictions, num_classes, weights)
    seen = weights > 0
    expected = metrics.precision_recall_fscore_support(
        labels[seen], predictions[seen], labels=range(num_classes), zero_division=np.nan
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@given(answered())
def test_their_means_are_those_of_scikit_learn(case):
    labels, predictions, weights, num_classes = case
    found = classification.per_class(labels, predictions, num_classes, weights)
    seen = weights > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that only predictions have
        balanced = metrics.balanced_accuracy_score(labels[seen], predictions[seen])
    macro = metrics.f1_score(labels[seen], predictions[seen], average="macro")  # of classes that are there at all
    assert classification.mean(found.recall) == pytest.approx(balanced)
    assert classification.mean(found.f1) == pytest.approx(macro)


@given(seed=st.integers(0, 10**6), size=st.integers(1, 30), num_classes=st.integers(3, 7), k=st.integers(1, 7))
def test_top_k_is_that_of_scikit_learn_without_ties(seed, size, num_classes, k):
    random = np.random.default_rng(seed)
    scores, labels = random.permuted(np.tile(np.arange(num_classes), (size, 1)), axis=1), np.arange(size) % num_classes
    found = classification.top_k_accuracy(classification.ranks(scores, labels), k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # k that takes in every class
        expected = metrics.top_k_accuracy_score(labels, scores, k=k, labels=range(num_classes))
    assert found == pytest.approx(expected)


@given(seed=st.integers(0, 10**6), num_classes=st.integers(1, 6))
def test_of_equal_scores_the_lower_class_comes_first(seed, num_classes):
    random = np.random.default_rng(seed)
    scores, labels = random.integers(0, 3, (20, num_classes)), random.integers(0, num_classes, 20)
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(classification.ranks(scores, labels), (order == labels[:, None]).argmax(axis=1))


def test_examples_of_weight_0_have_no_part_in_the_accuracy():
    assert classification.top_k_accuracy([0, 3, 1, 0], 2, [1, 0, 1, 0]) == 1.0
    assert classification.top_k_accuracy([0, 3, 1, 0], 1) == 0.5
    with pytest.raises(ValueError, match="no example"):
        classification.top_k_accuracy([0, 1], 1, [0, 0])


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 1)), min_size=1, max_size=40),
)
def test_average_precision_is_that_of_scikit_learn(rows):
    positives, scores, weights = np.array(rows).T
    found = classification.average_precision(positives, scores, weights)
    if not positives[weights > 0].any():
        assert np.isnan(found)
    else:
        assert found == pytest.approx(metrics.average_precision_score(positives, scores, sample_weight=weights))


def test_the_mean_of_average_precisions_leaves_out_classes_without_examples():
    random = np.random.default_rng(0)
    positives, scores = random.integers(0, 2, (50, 4)), random.normal(size=(50, 4)).astype("float32")
    weights = random.integers(0, 2, 50)
    positives[:, 2] = 1 - weights  # only where nothing counts
    found = classification.average_precisions(positives, scores, weights)
    assert np.isnan(found).tolist() == [False, False, True, False]
    some = [0, 1, 3]
    expected = metrics.average_precision_score(
        positives[:, some], scores[:, some], average="macro", sample_weight=weights
    )
    assert classification.mean(found) == pytest.approx(expected)
    assert np.isnan(classification.mean([np.nan]))
