"""A head trained alone, on features that were computed once: where training everything begins."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_vit import optimization
from keras_vit.objectives.classification import OBJECTIVES
from trainers.engine import loop
from trainers.engine.protocols import UpdateRule
from trainers.evaluations.answers import Answers
from trainers.training.plan import Plan

EPOCHS, FEWEST, MOST = 20, 200, 2000  # of training, and its bounds in updates
LEARNING_RATE = 0.1  # over the root of the number of features, so that logits move alike
EPSILON = 1e-5  # added to the features' deviations, as dead ones have none


class Head(NamedTuple):
    """kernel (D, Y) and bias (Y,)."""

    kernel: np.ndarray
    bias: np.ndarray


def trained(plan: Plan, features: Answers) -> Head:
    """The head of a linear classifier on features, by the run's own objective.

    Features are whitened while it is trained, so that one learning rate does for all models; that is folded into the
    head afterwards.

    Args:
        plan: The run.
        features: Features of training examples, and their labels.
    """
    mean, deviation = features.outputs.mean(axis=0), features.outputs.std(axis=0) + EPSILON
    whitened = features._replace(outputs=(features.outputs - mean) / deviation)
    settings = plan.settings
    width = features.outputs.shape[1]
    total = int(np.clip(EPOCHS * len(features.ids) // settings.batch_size, FEWEST, MOST))
    with plan.runtime.placed():
        model = keras.Sequential(
            [
                keras.Input((width,), dtype="float32"),
                keras.layers.Dense(plan.source.num_classes, kernel_initializer="zeros", dtype="float32", name="head"),
            ]
        )
        optimizer = optimization.optimizer(
            "adamw",
            model.trainable_variables,
            learning_rate=optimization.WarmupSchedule("cosine", LEARNING_RATE / width**0.5, total),
            weight_decay=0.01,
        )
        model.compile(optimizer=optimizer)
    feed = _feed(whitened, settings.batch_size, settings.seed)
    objective: Any = OBJECTIVES[settings.objective](plan.source.num_classes, settings.label_smoothing)
    spec = feed(0, 1, settings.batch_size).element_spec
    rule = UpdateRule(batch_size=settings.batch_size, clip_norm=1.0)
    steps = plan.runtime.steps(model, objective, optimizer, spec, rule)
    loop.Trainer(steps, loop.Plan(total, total, total, 100), [], workers=plan.workers).fit(feed)
    kernel, bias = (np.asarray(weight) for weight in model.get_weights())
    kernel = kernel / deviation[:, None]
    return Head(kernel, bias - mean @ kernel)


def _feed(features: Answers, batch_size: int, seed: int):
    """Endless batches of features, in the place of images."""

    def feed(share: int, shares: int, rows: int) -> tf.data.Dataset:
        with tf.device("CPU"):
            tensors = {"images": tf.constant(features.outputs), "labels": tf.constant(features.labels)}
        count = len(features.ids)
        pair = tf.constant([seed, 0], tf.uint32)

        def batch(step):
            places = step * batch_size + share * (batch_size // shares) + tf.range(batch_size // shares, dtype=tf.int64)
            # One order for all epochs will do for a convex problem.
            indices = tf.random.experimental.index_shuffle(places % count, pair, count - 1)
            rows_of = {name: tf.gather(tensor, indices) for name, tensor in tensors.items()}
            return rows_of | {"weights": tf.ones_like(indices, tf.float32), "ids": indices}

        return tf.data.Dataset.range(2**40).map(batch).unbatch().batch(rows, drop_remainder=True).prefetch(2)

    return feed
