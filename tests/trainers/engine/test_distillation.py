"""Distillation in the engine: compiled and in micro-batches it is the same, and the teacher's classes are learned; on
replicas: test_matrix.py."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vit import build
from keras_vit.distilling import Teacher
from keras_vit.objectives.distillation import Distillation
from keras_vit.preprocessing import Preprocessing
from trainers.engine.protocols import UpdateRule
from trainers.engine.tensorflow.steps import Steps

BATCH, CLASSES = 8, 5


def randomised(model):
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + generator.normal(0, 0.1, variable.shape))
    return model


def data():
    """Endless batches of noise, whose labels say nothing."""
    batch = {
        "images": tf.random.stateless_uniform((BATCH, 32, 32, 3), (1, 2), -1, 1),
        "labels": tf.zeros(BATCH, tf.int64),
        "weights": tf.constant([1.0] * (BATCH - 1) + [0.0]),
    }
    return tf.data.Dataset.from_tensors(batch).repeat()


RESNET = {"variant_or_architecture": "BiT-R26x1", "units": (1,), "root_width": 32}
VIT = {"variant_or_architecture": "mu/16"}  # which XLA compiles sooner


def made(kind="hard", dtype="float32", share=None, taught_by=RESNET, **arguments):
    keras.utils.set_random_seed(0)
    student = randomised(build("mu/16", image_size=32, num_classes=CLASSES, dtype=dtype))
    other = randomised(build(**taught_by, image_size=48, num_classes=CLASSES, dtype=dtype))
    teacher = Teacher(other, Preprocessing(size=(32, 32)))
    optimizer = keras.optimizers.Adam(3e-3)
    optimizer.build(student.trainable_variables)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    objective = Distillation(CLASSES, teacher, kind, share=share)
    rule = UpdateRule(batch_size=BATCH, **arguments)
    return Steps(strategy, student, objective, optimizer, data().element_spec, rule)


@pytest.mark.parametrize("kind", ["soft", pytest.param("hard", marks=pytest.mark.slow)])
def test_compiled_it_is_the_same(kind):
    plain, compiled = made(kind, taught_by=VIT), made(kind, taught_by=VIT, xla=True)
    batch = next(iter(data()))
    (gradients, sums), (plain_gradients, plain_sums) = (
        steps._compiled_gradients(batch, tf.constant(1.0)) for steps in (compiled, plain)
    )
    for variable, one, other in zip(plain.model.trainable_variables, gradients, plain_gradients, strict=True):
        largest = max(np.abs(other).max(), 1e-4)
        np.testing.assert_allclose(one / largest, other / largest, atol=1e-4, err_msg=variable.path)
    assert sums.keys() == plain_sums.keys() == {"loss", "accuracy", "agreement"}
    for name in sums:
        np.testing.assert_allclose(sums[name], plain_sums[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "arguments", [{"accumulate": 2}, pytest.param({"dtype": "mixed_bfloat16", "xla": True}, marks=pytest.mark.slow)]
)
def test_the_teacher_s_classes_are_learned_where_labels_say_nothing(arguments):
    steps = made(share=1.0, **arguments)
    teacher = steps.objective.teacher.model
    before, batches = teacher.get_weights(), iter(data())
    logs = [steps.train(batches, 10) for _ in range(4)]
    assert logs[-1]["loss"] < 0.5 * logs[0]["loss"] and logs[-1]["agreement"] > 0.9
    assert not [name for name in steps.state()["weights"] if "stage_0" in name]
    assert len(steps.state()["optimizer"]) < 3 * len(steps.model.trainable_variables)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
