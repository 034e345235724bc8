"""A model's answers to a split: each example once, whatever the batches and replicas, and nothing that was not read."""

import dataclasses
import json

import keras
import numpy as np
import processes
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_vit
from trainers.data import arrays, pipeline
from trainers.data.source import Source
from trainers.engine.endings import NotFinite
from trainers.engine.tensorflow.runtime import Runtime
from trainers.evaluations import answers, predictions
from trainers.evaluations.answers import features

ONE = Runtime(tf.distribute.OneDeviceStrategy("CPU:0"), "", "float32", "")
CLASSES = 7


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    made = keras_vit.build("mu/8", image_size=16, num_classes=CLASSES)
    made.get_layer("head").set_weights([np.random.default_rng(0).normal(size=(32, CLASSES)), np.zeros(CLASSES)])
    return made


def source(images, labels, **fields):
    return Source("made", 3, CLASSES, None, {"test": arrays.from_arrays("test", images, labels)}, **fields)


def images(count):
    return np.random.default_rng(1).integers(0, 256, (count, 16, 16, 3)).astype("uint8")


def feed(model, labels, batch_size, **fields):
    made = source(images(len(labels)), labels, **fields)
    return pipeline.EvaluationData(made.split("test"), batch_size, model.preprocessing).batches


def logits(model, count):
    return np.asarray(model(images(count).astype("float32") / 127.5 - 1))


@settings(max_examples=4)
@given(count=st.integers(1, 12), batch_size=st.integers(1, 8))
def test_every_example_is_predicted_once(model, count, batch_size):
    labels = np.arange(count, dtype="int32") % CLASSES
    predicted = predictions.predict(model, feed(model, labels, batch_size), ONE, batch_size)
    order = np.argsort(-logits(model, count), axis=1)
    np.testing.assert_array_equal(predicted.ids, np.arange(count))
    np.testing.assert_array_equal(predicted.labels, labels)
    np.testing.assert_array_equal(predicted.predictions, order[:, 0])
    np.testing.assert_array_equal(predicted.ranks, (order == labels[:, None]).argmax(axis=1))
    assert {part.ndim for part in predicted} == {1}  # nothing of the size of the logits


def test_of_shares_the_best_of_the_largest_is_the_label_and_none_is_left_out(model):
    shares = np.zeros((6, CLASSES), "float32")
    shares[0, [1, 4]] = 0.5
    shares[1:5, 2] = [1, 0.6, 0.4, 1]
    shares[2:4, 3] = [0.4, 0.6]
    predicted = predictions.predict(model, feed(model, shares, 4), ONE, 4)
    best = [1, 4][logits(model, 1)[0, [1, 4]].argmax()]
    assert predicted.labels.tolist() == [best, 2, 2, 3, 2] and predicted.ids.tolist() == [0, 1, 2, 3, 4]
    none = predictions.predict(model, feed(model, np.array([2, -1, 3], "int32"), 2), ONE, 2)
    assert none.ids.tolist() == [0, 2]


def test_scores_of_several_classes(model):
    positives = np.random.default_rng(2).integers(0, 2, (5, CLASSES)).astype("float32")
    scored = predictions.scores(model, feed(model, positives, 2, several_labels=True), ONE, 2)
    np.testing.assert_array_equal(scored.positives, positives > 0)
    np.testing.assert_allclose(scored.scores, logits(model, 5), atol=1e-5)
    assert (scored.scores.dtype, scored.positives.dtype) == ("float32", "bool")


def test_features_are_what_the_head_sees(model):
    answers = features(model, feed(model, np.arange(5, dtype="int32"), 3), ONE, 3)
    kernel, bias = model.get_layer("head").get_weights()
    np.testing.assert_allclose(answers.outputs @ kernel + bias, logits(model, 5), atol=1e-5)
    assert answers.outputs.shape == (5, 32) and answers.outputs.dtype == "float32"
    assert answers.labels.tolist() == answers.ids.tolist() == [0, 1, 2, 3, 4]


def test_images_that_cannot_be_read_are_left_out(model):
    held = [tf.io.encode_png(image).numpy() for image in images(5)]
    held[1] = b"<html>"
    split = dataclasses.replace(
        arrays.from_arrays("test", images(5), np.arange(5, dtype="int32")),
        read=lambda index: (tf.gather(tf.constant(held), index), tf.cast(index, tf.int32)),
    )
    made = Source("made", 3, CLASSES, None, {"test": split})
    data = pipeline.EvaluationData(made.split("test"), 4, model.preprocessing)
    assert features(model, data.batches, ONE, 4).ids.tolist() == [0, 2, 3, 4]
    with pytest.raises(ValueError, match=r"test\[1\] cannot be read"):
        features(model, data.batches, ONE, 4, after_batch=made.bad.check)


def test_too_many_scores_are_refused_before_they_are_computed(model, monkeypatch):
    monkeypatch.setattr(answers, "LIMIT", 10_000)
    positives = np.ones((400, CLASSES), "float32")
    with pytest.raises(ValueError, match=r"400 examples with 7 numbers each take .* GiB .*test\[:178\]"):
        predictions.scores(model, feed(model, positives, 4, several_labels=True), ONE, 4)
    assert len(predictions.predict(model, feed(model, np.zeros(400, "int32"), 100), ONE, 100).ids) == 400


def test_outputs_that_are_not_finite_end_it(model):
    broken = keras_vit.build(model.architecture)
    broken.get_layer("head").set_weights([np.full((32, CLASSES), np.nan), np.zeros(CLASSES)])
    with pytest.raises(NotFinite, match="not finite"):
        predictions.predict(broken, feed(model, np.zeros(3, "int32"), 2), ONE, 2)


REPLICAS = """
import json, sys
sys.path.insert(0, "tests")
import numpy as np
from trainers.data import arrays, pipeline
from trainers.data.source import Source
from trainers.engine import runtime
from trainers.evaluations.answers import features
import keras_vit
chosen = runtime.start("mirrored", "float32", 0, 2)
with chosen.placed():
    model = keras_vit.build("mu/8", image_size=16, num_classes=3)
images = np.random.default_rng(1).integers(0, 256, (7, 16, 16, 3)).astype("uint8")
split = arrays.from_arrays("test", images, np.arange(7, dtype="int32"))
data = pipeline.EvaluationData(Source("made", 3, 3, None, {"test": split}).split("test"), 4, model.preprocessing)
answers = features(model, data.batches, chosen, 4)
body = keras_vit.build(model.architecture)
body.set_weights(model.get_weights())
import keras
expected = keras.Model(body.input, body.get_layer("pre_logits").output)(images.astype("float32") / 127.5 - 1)
print(json.dumps([chosen.replicas, answers.ids.tolist(), float(np.abs(answers.outputs - expected).max())]))
"""


@pytest.mark.slow
def test_two_replicas_give_the_same_answers_in_the_same_order():
    out, err = processes.start(["-c", REPLICAS]).communicate(timeout=200)
    replicas, ids, difference = json.loads((out.splitlines() or [err])[-1])
    assert (replicas, ids) == (2, list(range(7))) and difference < 1e-5
