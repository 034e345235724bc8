"""Masked patch prediction in the engine: compiled, repeatable, and it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vit import build, parse
from keras_vit.masking import masked_model
from keras_vit.objectives.masked_patches import MaskedPatches
from trainers.engine.protocols import UpdateRule
from trainers.engine.tensorflow.steps import Steps

BATCH = 8


def data():
    """Endless batches of flat images, whose colors the patches that are left tell."""
    colors = tf.random.stateless_uniform((BATCH, 1, 1, 3), (1, 2), -1, 1)
    batch = {
        "images": tf.broadcast_to(colors, (BATCH, 16, 16, 3)),
        "labels": tf.zeros(BATCH, tf.int64),
        "weights": tf.constant([1.0] * (BATCH - 1) + [0.0]),
        "ids": tf.range(BATCH, dtype=tf.int64),
    }
    return tf.data.Dataset.from_tensors(batch).repeat()


def made(target="mean_color", **arguments):
    keras.utils.set_random_seed(0)
    supervised = build(parse("mu/16", patch_size=4, image_size=16, num_classes=0, dropout=0.1))
    model = masked_model(supervised, target)
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    spec = data().element_spec
    rule = UpdateRule(batch_size=BATCH, **arguments)
    steps = Steps(strategy, model, MaskedPatches(target), optimizer, spec, rule)
    return supervised, steps


@pytest.mark.parametrize(
    "target, xla",
    [
        ("mean_color", False),
        pytest.param("mean_color", True, marks=pytest.mark.slow),
        pytest.param("downsized_colors", False, marks=pytest.mark.slow),
        pytest.param("pixels", False, marks=pytest.mark.slow),
    ],
)
def test_it_learns(target, xla):
    supervised, steps = made(target, xla=xla)
    before, batches = supervised.get_weights(), iter(data())
    first = steps.train(batches, 1)
    last = [steps.train(batches, 10) for _ in range(4)][-1]
    assert last["loss"] < 0.4 * first["loss"]
    assert ("masked_accuracy" in last) == (target != "pixels")
    assert last.get("masked_accuracy", 1.0) > 0.5
    moved = [not np.array_equal(*pair) for pair in zip(before, supervised.get_weights(), strict=True)]
    assert all(moved)


def test_each_micro_batch_of_each_step_has_a_corruption_of_its_own_and_resumed_the_same():
    _, steps = made(accumulate=2)
    seen = []

    def watched(model, batch, training=False):
        outputs = model({"images": batch["images"], "ids": batch["ids"]}, training=training)
        tf.numpy_function(lambda rows: seen.append(rows.tobytes()), [outputs["corrupted"]], [])
        return MaskedPatches()(model, batch, training)

    steps.objective = watched
    steps.train(iter(data()), 1)
    state = steps.state()
    norms = [steps.train(iter(data()), 1)["gradient_norm"] for _ in range(2)]
    assert len(seen) == len(set(seen)) == 6
    steps.restore(state)
    assert [steps.train(iter(data()), 1)["gradient_norm"] for _ in range(2)] == norms
    assert seen[6:] == seen[2:6]
