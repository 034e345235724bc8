"""Temperature and calibration against closed forms and plain searches."""

import numpy as np
import pytest

from keras_vit.evaluation import calibration


def drawn(temperature, count=20_000, classes=5, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (count, classes))
    probabilities = softmax(logits / temperature)
    labels = (random.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return logits, np.minimum(labels, classes - 1)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature):
    assert calibration.fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.03)


def test_it_is_the_best_of_a_fine_search():
    logits, labels = drawn(1.7, count=300)
    fitted = calibration.fit_temperature(logits, labels)
    least = min(calibration.negative_log_likelihood(logits, labels, t) for t in np.geomspace(0.05, 20, 5000))
    assert calibration.negative_log_likelihood(logits, labels, fitted) <= least + 1e-9


def test_likelihood_of_large_logits_is_finite():
    logits = np.array([[1e4, 0.0], [0.0, 1e4]], "float32")
    assert calibration.negative_log_likelihood(logits, np.array([0, 1])) == 0
    assert calibration.negative_log_likelihood(logits, np.array([1, 0])) == pytest.approx(1e4)


def test_without_examples_there_is_none():
    with pytest.raises(ValueError, match="none"):
        calibration.fit_temperature(np.zeros((0, 3)), np.zeros(0, int))


def test_calibration_error():
    # Ten answers at 0.9 of which nine are right, ten at 0.6 of which none is: gaps of 0 and 0.6, half of all each.
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 9 + [1] + [1] * 10)
    assert calibration.expected_calibration_error(probabilities, labels) == pytest.approx(0.3)
    assert calibration.expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
