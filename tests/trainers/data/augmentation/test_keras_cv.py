"""KerasCV's layers in our pipeline, where KerasCV is installed: pip install 'keras_vit[cpu,keras-cv]'."""

from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from trainers.data.augmentation import keras_layers, mixing
from trainers.settings.augmentation import AugmentationSettings

keras_cv = pytest.importorskip("keras_cv", reason="needs KerasCV: pip install 'keras_vit[cpu,keras-cv]'")

# As docs/augmentation.md has it.
GRID_MASK = "keras_cv.layers.GridMask(ratio_factor=(0,0.5),rotation_factor=0.15)"
IMAGE = np.random.default_rng(0).integers(1, 256, (24, 32, 3)).astype("float32")


def many(layers, count=24, threads=None):
    """(count, h, w, C): an image after the layers, with different seeds."""
    settings = AugmentationSettings(augment_layers=layers)
    seeds = tf.data.Dataset.range(count).map(lambda number: tf.stack([tf.constant(7, tf.int64), number]))
    rows = seeds.map(lambda seed: keras_layers.distort(tf.constant(IMAGE), seed, settings), num_parallel_calls=threads)
    return np.stack(list(rows.as_numpy_iterator()))


def test_grid_mask_blackens_as_much_as_kerascv_on_its_own():
    results = many(GRID_MASK, 300)
    black = (results == 0).all(axis=-1)
    assert np.array_equal(results, np.where(black[..., None], 0, IMAGE))
    assert len(np.unique(black.reshape(300, -1), axis=0)) > 250
    layer = keras_cv.layers.GridMask(ratio_factor=(0, 0.5), rotation_factor=0.15)
    alone = tf.function(layer)(tf.repeat(IMAGE[None], 300, axis=0), training=True).numpy()
    shares = black.mean(axis=(1, 2)), (alone == 0).all(axis=-1).mean(axis=(1, 2))
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        ours, theirs = (np.quantile(share, quantile) for share in shares)
        assert abs(ours - theirs) < 0.05


@pytest.mark.parametrize(
    "layer",
    [
        "GridMask()",
        "ChannelShuffle(groups=3)",
        "RandAugment(value_range=(0, 255), augmentations_per_image=1, geometric=False)",
        "RandomCutout(0.3, 0.3)",
        "RandomShear(0.2, 0.2)",
    ],
)
def test_kerascv_draws_from_the_seed(layer):
    """They draw from TensorFlow's global generator and global state, which our stand-ins replace."""
    once = many(f"keras_cv.layers.{layer}", threads=1)
    keras_layers._made.cache_clear()
    assert np.array_equal(once, many(f"keras_cv.layers.{layer}", threads=8))
    assert len(np.unique(once.reshape(24, -1), axis=0)) > 4


def test_what_draws_from_global_state_alone_is_said_not_to_be_repeatable(capfd):
    many("keras_cv.layers.RandomCutout(0.3, 0.3, fill_mode='gaussian_noise')", 2)
    assert "is not repeatable" in capfd.readouterr().err


# Our mixing beside KerasCV's mixing layers, which are given our draws; their order of drawing is known.

ROWS = np.random.default_rng(1).uniform(-1, 1, (5, 16, 24, 3)).astype("float32")
TARGETS = np.eye(4, dtype="float32")[[0, 1, 2, 3, 1]]
SEED = tf.constant([3, -1], tf.int64)


def ours(seed, **settings):
    """Images and labels (4, ...), each of the rows but the first mixed with the one before it."""
    rows = {"images": ROWS, "labels": TARGETS, "weights": np.ones(5, "float32"), "ids": np.arange(5)}
    rows = {name: tf.constant(value) for name, value in rows.items()}
    mixed = mixing.mix(rows, seed, 4, AugmentationSettings(**settings))
    return mixed["images"].numpy(), mixed["labels"].numpy()


def theirs(layer, share, centre=()):
    """The same of a KerasCV layer, with these choices instead of its own."""
    layer._sample_from_beta = lambda alpha, beta, shape: tf.fill(shape, tf.constant(share, tf.float32))
    partners = tf.constant(np.roll(np.arange(5), 1), tf.int32)
    draws = iter(centre)
    with (
        mock.patch.object(tf.random, "shuffle", lambda value, seed=None: partners),
        mock.patch.object(tf.random, "uniform", lambda shape, **_: tf.fill(shape, next(draws))),
    ):
        result = layer({"images": tf.constant(ROWS), "labels": tf.constant(TARGETS)})
    return result["images"].numpy()[1:], result["labels"].numpy()[1:]


def test_mixup_is_kerascvs_with_the_same_share():
    share = mixing.beta(SEED, 0.2).numpy()
    share = max(share, 1 - share)  # KerasCV's may be below a half
    for one, other in zip(ours(SEED, mixup=0.2), theirs(keras_cv.layers.MixUp(0.2), share), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("number", range(6))
def test_cutmix_is_kerascvs_with_the_same_rectangle(number):
    seed = tf.constant([3, number], tf.int64)
    share = mixing.beta(seed, 1.0).numpy()
    place = tf.random.stateless_uniform((2,), tf.random.fold_in(seed, 1)).numpy()
    centre = np.floor(place * [16, 24]).astype("int32")
    images, labels = ours(seed, cutmix=1.0)
    their_images, their_labels = theirs(keras_cv.layers.CutMix(1.0), share, centre)
    np.testing.assert_array_equal(images, their_images)
    cut = (np.sqrt(1 - share) * np.array([16, 24])).astype("int32")
    inside = (centre - cut // 2 >= 0).all() and (centre + (cut + 1) // 2 <= [16, 24]).all()
    # Theirs counts the rectangle's area also where it lies outside the image.
    if inside:
        np.testing.assert_allclose(labels, their_labels, atol=1e-6)
    else:
        own_shares, their_shares = ((each * TARGETS[1:]).sum(axis=1) for each in (labels, their_labels))
        assert (own_shares > their_shares).all()
