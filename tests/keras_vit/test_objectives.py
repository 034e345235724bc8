"""Losses and metric sums against the numpy reference."""

import math

import numpy as np
import pytest
import reference

from keras_vit.objectives.classification import OBJECTIVES, Sigmoid, Softmax

LOGITS = np.random.default_rng(0).normal(size=(6, 5)).astype("float32") * 3
LABELS = np.array([0, 1, 2, 3, 4, 0])
WEIGHTS = np.array([1, 1, 0, 1, 1, 0], "float32")


def model(images, training=False):
    return LOGITS


def batch(labels):
    return {"images": np.zeros((6, 1)), "labels": labels, "weights": WEIGHTS}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_equals_the_reference(smoothing):
    losses, sums = Softmax(5, smoothing)(model, batch(LABELS))
    expected = reference.label_smoothing_cross_entropy(LOGITS, LABELS, 5, smoothing)
    np.testing.assert_allclose(losses, expected, atol=1e-5)
    assert float(sums["loss"][0]) == pytest.approx((expected * WEIGHTS).sum(), abs=1e-4)
    assert float(sums["loss"][1]) == float(sums["accuracy"][1]) == WEIGHTS.sum()
    assert float(sums["accuracy"][0]) == ((LOGITS.argmax(1) == LABELS) * WEIGHTS).sum()


def test_sigmoid_equals_the_reference_with_several_labels():
    targets = np.eye(5, dtype="float32")[LABELS]
    targets[0, 3] = 1
    losses, _ = Sigmoid(5)(model, batch(targets))
    np.testing.assert_allclose(losses, reference.sigmoid_cross_entropy(LOGITS, targets), atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES.values())
def test_integer_labels_equal_one_hot_labels(objective):
    one, _ = objective(5)(model, batch(LABELS))
    other, _ = objective(5)(model, batch(np.eye(5, dtype="float32")[LABELS]))
    np.testing.assert_array_equal(one, other)


def test_soft_labels_count_the_largest_share_as_right():
    shares = np.full((6, 5), 0.1, "float32")
    shares[np.arange(6), LOGITS.argmax(1)] = 0.6
    _, sums = Softmax(5)(model, batch(shares))
    assert float(sums["accuracy"][0]) == WEIGHTS.sum()


def test_losses_that_training_starts_from():
    zero = lambda images, training: np.zeros((1, 1000), "float32")  # noqa: E731
    one = {"images": np.zeros((1, 1)), "labels": np.array([3]), "weights": np.ones(1, "float32")}
    assert float(Softmax(1000)(zero, one)[0][0]) == pytest.approx(math.log(1000), abs=1e-4)
    biased = lambda images, training: np.full((1, 21843), -10, "float32")  # noqa: E731
    assert float(Sigmoid(21843)(biased, one)[0][0]) == pytest.approx(10.99, abs=5e-3)


@pytest.mark.parametrize("objective", OBJECTIVES.values())
def test_examples_without_a_label_have_no_part_in_the_accuracy(objective):
    targets = np.eye(5, dtype="float32")[LOGITS.argmax(1)]
    targets[:2] = 0  # two of the four rows that have weight
    targets[3] = np.roll(targets[3], 1)
    _, sums = objective(5)(model, batch(targets))
    assert (float(sums["accuracy"][0]), float(sums["accuracy"][1])) == (1, 2)
    assert float(sums["loss"][1]) == WEIGHTS.sum()
