"""The few-shot probe against an independent implementation, worked examples, and its own definition."""

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_vit.evaluation import fewshot


def test_scores_are_those_of_the_other_implementation():
    with np.load(oracle.FIXTURES / "fewshot.npz") as held:
        data = [held[name] for name in ("train_features", "train_labels", "test_features")]
        np.testing.assert_allclose(fewshot.scores(*data, 5, float(held["l2"])), held["scores"], rtol=0, atol=1e-4)
        assert fewshot.accuracy(*data, held["test_labels"], 5) == pytest.approx(float(held["accuracy"]), abs=1e-6)


def test_a_case_worked_out_by_hand():
    train = [[0, 0], [1, 0], [0, 1], [1, 2]]
    scores = fewshot.scores(train, np.array([0, 0, 1, 1]), [[0, 0.9], [2, 0]], 2)
    np.testing.assert_allclose(scores, [[-6.4083e-4, 6.4083e-4], [3.1959e-3, -3.1959e-3]], rtol=1e-4)


@given(
    examples=st.integers(2, 12),
    width=st.integers(1, 12),
    classes=st.integers(2, 4),
    l2=st.sampled_from([1.0, 1024.0]),
    seed=st.integers(0, 99),
)
def test_both_systems_minimise_what_they_should(examples, width, classes, l2, seed):
    """At the minimum of |X W - T|^2 + l2 |W|^2 the gradient X^T (X W - T) + l2 W vanishes."""
    random = np.random.default_rng(seed)
    features, targets = random.normal(size=(examples, width)), random.normal(size=(examples, classes))
    weights = fewshot._ridge(features, targets, l2)
    gradient = features.T @ (features @ weights - targets) + l2 * weights
    np.testing.assert_allclose(gradient, 0, atol=1e-8 * l2)


def test_dead_features_and_scale_do_not_matter():
    random = np.random.default_rng(0)
    train, test, labels = random.normal(size=(30, 5)), random.normal(size=(9, 5)), np.arange(30) % 3
    scores = fewshot.scores(train, labels, test, 3)
    dead = [np.concatenate([1000 * part + 7, np.ones((len(part), 1))], axis=1) for part in (train, test)]
    np.testing.assert_allclose(fewshot.scores(dead[0], labels, dead[1], 3), scores, atol=1e-4)


def test_so_many_of_each_class_are_chosen():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 4], [50, 3, 20]))
    chosen = fewshot.choose(labels, 10, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [10, 3, 0, 0, 10]
    assert len(set(chosen)) == 23
    assert np.array_equal(chosen, fewshot.choose(labels, 10, seed=1))
    assert set(chosen) != set(fewshot.choose(labels, 10, seed=2))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.zeros((3, 2)), np.zeros(2, int), np.zeros((1, 2)), 2), r"\(3, 2\), \(2,\) and \(1, 2\)"),
        ((np.zeros((3, 2)), np.zeros(3, int), np.zeros((1, 3)), 2), r"\(M, D\)"),
        ((np.zeros((0, 2)), np.zeros(0, int), np.zeros((1, 2)), 2), "no training example"),
        ((np.zeros((3, 2)), np.full(3, 2), np.zeros((1, 2)), 2), r"\[0, 2\)"),
        ((np.zeros((3, 2)), np.zeros(3), np.zeros((1, 2)), 2), "float64"),
    ],
)
def test_wrong_arguments_are_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        fewshot.scores(*arguments)
