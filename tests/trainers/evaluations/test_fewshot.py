"""The few-shot protocol: which examples, pixels and regression; worked out again without the code's own parts."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_vit
from trainers import evaluate
from trainers.data import arrays
from trainers.data.source import Source
from trainers.engine.tensorflow.runtime import Runtime
from trainers.evaluations import fewshot

HERE = Runtime(tf.distribute.OneDeviceStrategy("CPU:0"), "", "float32", "")
COUNTS = (9, 2, 6)  # training examples of each class


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    preprocessing = keras_vit.Preprocessing(size=(14, 21), crop=0.5)  # a crop of its own has no part in the probe
    return keras_vit.build("mu/7", image_size=(14, 21), num_classes=50, representation=5, preprocessing=preprocessing)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = {"train": random.permutation(np.repeat([0, 1, 2], COUNTS)), "test": np.arange(12) % 3}
    return {
        name: (random.integers(0, 256, (len(classes), 20, 20, 3)).astype("uint8"), classes)
        for name, classes in labels.items()
    }


def opened(data):
    splits = {name: arrays.from_arrays(name, images, labels.astype("int32")) for name, (images, labels) in data.items()}
    return Source("made", 3, 3, None, splits)


def settings(**changes):
    settings = {"fewshot_shots": "1,4", "batch_size": 5, "evaluations": "fewshot", **changes}
    return evaluate.Settings(model="made", source="made", **settings)


def expected_features(model, images):
    """Whole images to 16x24, the central 14x21 of that, [-1, 1], the tanh layer's output."""
    resized = tf.image.resize(images, (16, 24))[:, 1:15, 1:22]
    return np.asarray(keras.Model(model.input, model.get_layer("pre_logits").output)(resized / 127.5 - 1), "float64")


def expected_accuracy(train, train_labels, test, test_labels):
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-5
    train, test = (np.hstack([(part - mean) / deviation, np.full((len(part), 1), 100.0)]) for part in (train, test))
    targets = np.where(train_labels[:, None] == np.arange(3), 1.0, -1.0)
    # Least squares with the ridge as further rows.
    rows = np.vstack([train, np.sqrt(1024.0) * np.eye(train.shape[1])])
    weights = np.linalg.lstsq(rows, np.vstack([targets, np.zeros((train.shape[1], 3))]), rcond=None)[0]
    return np.mean((test @ weights).argmax(axis=1) == test_labels)


def test_the_protocol(model, data, monkeypatch):
    computed = []
    original = fewshot.features

    def watched(*arguments, **named):
        values = original(*arguments, **named)
        computed.append(values)
        return values

    monkeypatch.setattr(fewshot, "features", watched)
    rows = fewshot.measure(settings(), model, opened(data), HERE)

    (train_images, train_labels), (test_images, test_labels) = data["train"], data["test"]
    train, test = expected_features(model, train_images), expected_features(model, test_images)
    used = set()
    for shots in (1, 4):
        accuracies = []
        for seed in (0, 1, 2):
            generator = np.random.default_rng(seed)
            chosen = np.concatenate(
                [generator.permutation(np.flatnonzero(train_labels == label))[:shots] for label in range(3)]
            )
            assert len(chosen) == sum(min(shots, count) for count in COUNTS)
            used |= set(chosen.tolist())
            accuracies.append(expected_accuracy(train[chosen], train_labels[chosen], test, test_labels))
        assert rows[f"fewshot {shots}-shot"] == pytest.approx(np.mean(accuracies))
        assert rows[f"fewshot {shots}-shot spread"] == pytest.approx(np.std(accuracies, ddof=1))
    # Nothing is computed but the features of what was chosen, and of the test split once.
    np.testing.assert_allclose(computed[0].outputs, train[sorted(used)], atol=1e-5)
    np.testing.assert_allclose(computed[1].outputs, test, atol=1e-5)
    assert len(computed) == 2 and len(used) < len(train)


def test_one_seed_has_no_spread_and_labels_may_be_shares(model, data):
    whole = opened(data)
    shares = {name: (images, np.eye(3)[labels]) for name, (images, labels) in data.items()}
    splits = {
        name: arrays.from_arrays(name, images, classes.astype("float32")) for name, (images, classes) in shares.items()
    }
    rows = fewshot.measure(settings(fewshot_shots="4", fewshot_seeds="1"), model, whole, HERE)
    assert list(rows) == ["fewshot 4-shot"]
    assert rows == fewshot.measure(
        settings(fewshot_shots="4", fewshot_seeds="1"), model, dataclasses.replace(whole, splits=splits), HERE
    )


@pytest.mark.parametrize(
    ("fields", "changes", "said"),
    [
        ({"several_labels": True}, {}, "one class each, which made has not"),
        ({"channels": 1}, {}, "images of 3 channels; --source=made has 1"),
        ({}, {"train_split": "train+test[:1]"}, r"--train_split=train\+test\[:1\] and --split=test share examples"),
        ({}, {"train_split": "dev"}, "no split 'dev'"),
    ],
)
def test_mistakes_are_one_line(model, data, fields, changes, said):
    with pytest.raises(ValueError, match=said):
        fewshot.measure(settings(**changes), model, dataclasses.replace(opened(data), **fields), HERE)
