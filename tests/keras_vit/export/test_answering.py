"""From logits to answers."""

import numpy as np
import pytest

from keras_vit.export.answering import Answering

LOGITS = np.array([[1.0, 3.0, -2.0], [0.5, 0.25, 0.75]], "float32")


def test_softmax_at_a_temperature():
    powers = np.exp(LOGITS / 2)
    probabilities = Answering(temperature=2.0).probabilities_of(LOGITS).numpy()
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-6)


def test_sigmoid_at_a_temperature():
    probabilities = Answering(probabilities="sigmoid", temperature=0.5).probabilities_of(LOGITS).numpy()
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-LOGITS / 0.5)), rtol=1e-6)


def test_the_best_classes_come_first_with_their_names():
    answers = Answering(top=2).answers(LOGITS, ["a", "b", "ç"])
    assert answers["top_indices"].numpy().tolist() == [[1, 0], [2, 0]]
    assert answers["top_labels"].numpy().tolist() == [[b"b", b"a"], ["ç".encode(), b"a"]]
    expected = np.take_along_axis(answers["probabilities"].numpy(), answers["top_indices"].numpy(), axis=1)
    np.testing.assert_array_equal(answers["top_probabilities"], expected)


def test_no_more_are_named_than_there_are():
    assert Answering(top=5).answers(LOGITS, ["a", "b", "c"])["top_indices"].shape == (2, 3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"probabilities": "softplus"}, "softmax, sigmoid"),
        ({"temperature": 0.0}, "positive"),
        ({"temperature": float("nan")}, "positive"),
        ({"top": 0}, "top=0"),
    ],
)
def test_what_cannot_be_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        Answering(**fields)
