"""Factors of the losses by class."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.data import arrays, class_weights
from trainers.data.source import Source
from trainers.settings.data import DataSettings

LABELS = np.array([0] * 6 + [2] * 3 + [3])


def source_of(labels, names=("ant", "bee", "cow", "dog")):
    split = arrays.from_arrays("train", np.zeros((len(labels), 1, 1, 1), "uint8"), labels)
    return Source("animals", 1, 4, names, {"train": split})


def factors(choice, labels, names=("ant", "bee", "cow", "dog")):
    settings = DataSettings(class_weights=choice)
    weights = settings.class_factors or settings.class_weights
    factor_of = class_weights.factor_of(weights, source_of(labels, names).split("train"))
    return [float(value) for value in tf.data.Dataset.from_tensor_slices(labels).map(factor_of)]


def test_balanced_gives_every_class_the_same_weight_in_all():
    values = np.array(factors("balanced", LABELS))
    sums = [values[c == LABELS].sum() for c in (0, 2, 3)]
    np.testing.assert_allclose(sums, 10 / 3, rtol=1e-6)
    np.testing.assert_allclose(values.mean(), 1, rtol=1e-6)


def test_given_factors_by_name_or_number():
    assert factors("ant=2;dog=0.25", LABELS) == [2.0] * 6 + [1.0] * 3 + [0.25]
    assert factors("2=3", LABELS, None) == [1.0] * 6 + [3.0] * 3 + [1.0]
    assert factors("none", LABELS) == [1.0] * 10


def test_of_several_labels_the_mean_counts():
    labels = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0.5, 0.5, 0, 0]], "float32")
    np.testing.assert_allclose(factors("ant=3", labels), [2, 1, 1, 2])


@pytest.mark.parametrize("choice", ["balance", "ant", "ant=x", "fox=1", "ant=0", "ant=-1", "ant=inf", "ant=nan", ";"])
def test_mistakes(choice):
    with pytest.raises(UserError, match="--class_weights"):
        factors(choice, LABELS)
