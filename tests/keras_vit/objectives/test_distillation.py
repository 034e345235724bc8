"""Distillation against equations 2 and 3 of DeiT, computed in plain numpy."""

import numpy as np
import pytest
import reference
import tensorflow as tf

from keras_vit.objectives.distillation import DISTILLATIONS, Distillation

GENERATOR = np.random.default_rng(0)
LOGITS, DISTILLED, TEACHER = (3 * GENERATOR.normal(size=(6, 5)).astype("float32") for _ in range(3))
LABELS = np.array([0, 1, 2, 3, 4, 0])
SHARES = GENERATOR.dirichlet(np.ones(5), 6).astype("float32")
WEIGHTS = np.array([1, 1, 0, 1, 1, 0], "float32")
ONE_HEAD, TWO_HEADS = LOGITS, {"labels": LOGITS, "teacher": DISTILLED}


def softmax(logits):
    return np.exp(reference.log_softmax(logits))


def against_labels(targets, smoothing):
    smooth = targets * (1 - smoothing) + smoothing / 5
    return -(smooth * reference.log_softmax(LOGITS)).sum(-1)


def hard(logits, temperature):
    return -np.array(
        [reference.log_softmax(row)[teacher.argmax()] for row, teacher in zip(logits, TEACHER, strict=True)]
    )


def soft(logits, temperature):
    ours, theirs = softmax(logits / temperature), softmax(TEACHER / temperature)
    return temperature**2 * (theirs * np.log(theirs / ours)).sum(-1)


CASES = {
    "hard": ({"kind": "hard"}, hard, 0.5, None),
    "soft": ({"kind": "soft"}, soft, 0.1, 3.0),
    "hard, another share": ({"kind": "hard", "share": 0.8}, hard, 0.8, None),
    "soft, smoothed labels": ({"kind": "soft", "temperature": 1.5, "label_smoothing": 0.2}, soft, 0.1, 1.5),
    "hard, smoothed labels": ({"kind": "hard", "label_smoothing": 0.1}, hard, 0.5, None),
    "the teacher alone": ({"kind": "soft", "share": 1.0}, soft, 1.0, 3.0),
}


@pytest.mark.parametrize("outputs", [ONE_HEAD, TWO_HEADS], ids=["one head", "two heads"])
@pytest.mark.parametrize("labels", [LABELS, SHARES], ids=["labels", "mixed"])
@pytest.mark.parametrize("fields, taught, share, temperature", CASES.values(), ids=CASES)
def test_losses_and_sums_are_those_of_the_equations(fields, taught, share, temperature, labels, outputs):
    batch = {"images": np.zeros((6, 1)), "labels": labels, "weights": WEIGHTS}
    objective = Distillation(5, lambda images: TEACHER, **fields)
    losses, sums = objective(lambda images, training: outputs, batch, training=True)

    targets = np.eye(5)[labels] if labels.ndim == 1 else labels
    distilled = outputs["teacher"] if isinstance(outputs, dict) else outputs
    expected = (1 - share) * against_labels(targets, fields.get("label_smoothing", 0.0))
    expected = expected + share * taught(distilled, temperature)
    np.testing.assert_allclose(losses, expected, rtol=1e-5, atol=1e-5)

    answer = ((LOGITS + distilled) / 2).argmax(-1)
    right = targets[np.arange(6), answer] == targets.max(-1)
    for name, values in {"loss": expected, "accuracy": right, "agreement": answer == TEACHER.argmax(-1)}.items():
        assert float(sums[name][0]) == pytest.approx((values * WEIGHTS).sum(), rel=1e-5), name
        assert float(sums[name][1]) == WEIGHTS.sum()


def test_images_reach_the_teacher_and_no_gradient_does():
    images, scale = tf.ones((2, 5)), tf.Variable(2.0)
    batch = {"images": images, "labels": np.array([0, 1]), "weights": np.ones(2, "float32")}
    objective = Distillation(5, lambda inputs: scale * inputs * tf.range(5.0), "soft")
    with tf.GradientTape() as tape:
        losses, _ = objective(lambda inputs, training: inputs * scale, batch)
    assert float(losses[0]) > np.log(5)
    with tf.GradientTape() as alone:
        fixed = Distillation(5, lambda inputs: 2.0 * inputs * tf.range(5.0), "soft")
        losses_alone, _ = fixed(lambda inputs, training: inputs * scale, batch)
    np.testing.assert_allclose(tape.gradient(losses, scale), alone.gradient(losses_alone, scale))


@pytest.mark.parametrize(
    ("fields", "fragments"),
    [
        ({"kind": "warm"}, ["'warm'", *DISTILLATIONS]),
        ({"share": 0.0}, ["(0, 1]", "0.0"]),
        ({"share": 1.5}, ["(0, 1]", "1.5"]),
        ({"temperature": 2.0}, ["hard distillation has no temperature", "2.0"]),
        ({"kind": "soft", "temperature": 0.0}, ["positive", "0.0"]),
    ],
)
def test_bad_fields_are_one_value_error(fields, fragments):
    with pytest.raises(ValueError) as error:
        Distillation(5, lambda images: TEACHER, **fields)
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)
