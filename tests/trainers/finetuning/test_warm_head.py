"""The head trained on features."""

import types

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from trainers.engine.tensorflow.runtime import Runtime
from trainers.engine.workers import Workers
from trainers.evaluations.answers import Answers
from trainers.finetuning import warm_head


def plan_for(classes, objective="softmax"):
    settings = types.SimpleNamespace(batch_size=50, seed=0, objective=objective, label_smoothing=0.0)
    runtime = Runtime(tf.distribute.OneDeviceStrategy("/cpu:0"), "", "float32", "")
    source = types.SimpleNamespace(num_classes=classes)
    return types.SimpleNamespace(settings=settings, runtime=runtime, source=source, workers=Workers())


def accuracy(head, features):
    return np.mean((features.outputs @ head.kernel + head.bias).argmax(axis=1) == features.labels)


def clusters(scale, offset, count=300, classes=3, width=6):
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = random.normal(size=(classes, width))
    outputs = (centres[labels] + 0.7 * random.normal(size=(count, width))) * scale + offset
    return Answers(outputs.astype("float32"), labels, np.arange(count))


def test_it_does_as_well_as_logistic_regression_whatever_the_features_scale():
    features = clusters(1e-3, 5.0)
    head = warm_head.trained(plan_for(3), features)
    whitened = (features.outputs - features.outputs.mean(0)) / features.outputs.std(0)
    oracle = LogisticRegression().fit(whitened, features.labels).score(whitened, features.labels)
    assert accuracy(head, features) >= oracle - 0.02


def test_several_labels():
    features = clusters(1.0, 0.0)
    several = features._replace(labels=np.eye(3, dtype="float32")[features.labels])
    assert accuracy(warm_head.trained(plan_for(3, "sigmoid"), several), features) > 0.8
