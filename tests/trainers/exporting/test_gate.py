"""What passes the gate, and what is said of the rest."""

import numpy as np
import pytest

from keras_vit.export.answering import Answering
from trainers.exporting import gate
from trainers.exporting.gate import Finding, Limit

LIMIT = Limit(difference=0.1, agreement=0.9, accuracy=0.01)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_differences_of_logits_are_told_from_probabilities():
    logits = np.random.default_rng(0).normal(0, 2, (50, 7))
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))  # so that nothing of it is lost
    moved = logits.copy()
    moved[3, 2] += 0.5
    moved -= np.log(np.exp(moved).sum(axis=1, keepdims=True))
    answering = Answering(temperature=3.0)
    finding = gate.compare(softmax(logits / 3), softmax(moved / 3), None, answering)
    scaled = [part - 3 * np.log(np.exp(part / 3).sum(axis=1, keepdims=True)) for part in (logits, moved)]
    assert finding.difference == pytest.approx(np.abs(scaled[0] - scaled[1]).max(), rel=1e-6)


def test_sigmoid_logits():
    logits = np.array([[-4.0, 0.5, 9.0]])
    probabilities = 1 / (1 + np.exp(-logits / 2))
    np.testing.assert_allclose(
        gate.logits_of(probabilities, Answering(probabilities="sigmoid", temperature=2.0)), logits, rtol=1e-6
    )


def test_probabilities_too_small_to_tell_do_not_count():
    expected, answers = np.array([[1.0, 1e-9, 0.0]]), np.array([[1.0, 0.0, 1e-12]])
    assert gate.compare(expected, answers, None, Answering()).difference == 0


def test_agreement_and_accuracy_leave_out_what_has_no_label():
    expected, answers = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[0, 1, 2, 1]]
    finding = gate.compare(expected, answers, np.array([0, 2, -1, 2]), Answering())
    assert (finding.agreement, finding.accuracy, finding.model_accuracy) == (
        0.75,
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    )
    assert gate.compare(expected, answers, np.array([-1] * 4), Answering()).accuracy is None


def test_features_are_compared_in_shares_of_their_spread():
    ours = np.array([[-4.0, 4.0], [4.0, -4.0]])
    assert gate.compare(ours, ours + 1, None, None) == Finding(0.25)
    assert gate.compare(ours / 100, np.zeros((2, 2)), None, None) == Finding(1.0), "however small they are"
    assert gate.compare(np.zeros((2, 3)), np.full((2, 3), 0.25), None, None) == Finding(0.25)


@pytest.mark.parametrize("logit", [2.0, 8.0, 12.0, 30.0])
def test_rounding_of_sigmoids_near_one_is_no_difference(logit):
    expected = np.array([[1 / (1 + np.exp(-logit))]], "float32")
    answers = np.nextafter(expected, np.float32(0))
    assert gate.compare(expected, answers, None, Answering(probabilities="sigmoid")).difference < 3e-4


def test_a_low_temperature_hides_nothing():
    logits = np.array([[0.0, -2.0, -3.0]])
    moved = logits - np.array([0.0, 0.0, 0.5])
    answering = Answering(temperature=0.05)
    finding = gate.compare(softmax(logits / 0.05), softmax(moved / 0.05), None, answering)
    assert finding.difference == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (Finding(0.2), ["0.2", "0.1"]),
        (Finding(float("nan")), ["nan", "0.1"]),
        (Finding(float("inf")), ["inf"]),
        (Finding(0.0, agreement=0.85), ["85.0 %", "90 %"]),
        (Finding(0.0, 1.0, accuracy=0.9, model_accuracy=0.95), ["5.00 points", "1 allowed"]),
    ],
)
def test_what_goes_too_far_is_told_with_both_numbers(finding, words):
    (fault,) = finding.faults(LIMIT)
    assert all(word in fault for word in words), fault


def test_what_is_within_the_limit_passes():
    assert Finding(0.1, 0.9, 0.94, 0.95).faults(LIMIT) == []
    assert Finding(0.0, 1.0, 0.99, 0.9).faults(LIMIT) == [], "being better is no fault"


def test_answers_of_another_shape_never_pass():
    assert gate.compare(np.zeros((2, 3)), np.zeros((2, 4)), None, Answering()).faults(LIMIT)


def test_nan_is_seen_and_is_no_json_number():
    answers = np.array([[np.nan, 1.0]])
    finding = gate.compare(np.array([[0.5, 0.5]]), answers, None, Answering())
    assert finding.faults(LIMIT) and gate.plain(finding)["difference"] == "nan"
