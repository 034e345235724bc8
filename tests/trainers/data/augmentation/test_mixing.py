"""Mixup and CutMix: partners, shares, labels, and what happens beside rows that could not be read."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from trainers.data.augmentation import mixing
from trainers.settings.augmentation import AugmentationSettings

MIXUP, CUTMIX = AugmentationSettings(mixup=0.2), AugmentationSettings(cutmix=1.0)


def rows(count=6, size=(8, 10), weights=None, labels=None, seed=0):
    """Constant images, so that each pixel of a mixed one tells the share of its two."""
    values = np.arange(count, dtype="float32") + 1
    return {
        "images": tf.constant(np.broadcast_to(values[:, None, None, None], (count, *size, 3))),
        "labels": tf.constant(np.arange(count) % 4 if labels is None else labels),
        "weights": tf.constant(np.ones(count, "float32") if weights is None else np.float32(weights)),
        "ids": tf.range(100, 100 + count, dtype=tf.int64),
    }


@functools.cache
def graph(settings):
    """Traced once for each shape: calling operation by operation takes many times as long."""
    return tf.function(lambda batch, seed: mixing.mix(batch, seed, 4, settings))


def mixed(settings, **kinds):
    return {name: value.numpy() for name, value in graph(settings)(rows(**kinds), seed_of(0)).items()}


def seed_of(number):
    return tf.constant([5, -1 - number], tf.int64)


def many(settings, count, **kinds):
    """The results of as many seeds."""
    batch = rows(**kinds)
    for number in range(count):
        yield {name: value.numpy() for name, value in graph(settings)(batch, seed_of(number)).items()}


def share_of(result, images=None):
    """Of the second of rows 1, 2, ...: pixel = share * (i + 2) + (1 - share) * (i + 1) in row i."""
    return result["images"] - 1 - np.arange(len(result["images"]))[:, None, None, None]


def test_each_row_is_mixed_with_the_one_before_it_and_so_is_its_label():
    result = mixed(MIXUP)
    share = share_of(result)[0, 0, 0, 0]
    assert 0.5 <= share <= 1
    np.testing.assert_allclose(share_of(result), share, atol=1e-6)
    expected = share * np.eye(4)[[1, 2, 3, 0, 1]] + (1 - share) * np.eye(4)[[0, 1, 2, 3, 0]]
    np.testing.assert_allclose(result["labels"], expected, atol=1e-6)
    assert result["ids"].tolist() == [101, 102, 103, 104, 105] and (result["weights"] == 1).all()
    assert result["images"].dtype == result["labels"].dtype == result["weights"].dtype == "float32"


def test_labels_that_are_shares_are_mixed_as_they_are():
    labels = np.random.default_rng(0).dirichlet(np.ones(4), 6).astype("float32")
    result = mixed(MIXUP, labels=labels)
    share = share_of(result)[0, 0, 0, 0]
    np.testing.assert_allclose(result["labels"], share * labels[1:] + (1 - share) * labels[:-1], atol=1e-6)


@pytest.mark.parametrize("concentration", [0.01, 0.2, 0.8, 1.0, 4.0])
def test_shares_are_from_the_beta_distribution(concentration):
    @tf.function
    def draws(seeds):
        return tf.map_fn(lambda seed: mixing.beta(seed, concentration), seeds, fn_output_signature=tf.float32)

    ours = np.sort(draws(tf.constant([(1, number) for number in range(4000)], tf.int64)))
    theirs = np.sort(np.random.default_rng(0).beta(concentration, concentration, 400_000))
    places = np.linspace(0.01, 0.99, 50)
    distances = np.searchsorted(ours, places) / 4000 - np.searchsorted(theirs, places) / 400_000
    assert np.abs(distances).max() < 0.03  # Kolmogorov-Smirnov at 4000 draws: 0.026 for p = 0.01
    assert np.isfinite(ours).all()


def test_cutmix_pastes_one_rectangle_of_the_partners_and_counts_its_area():
    shares = []
    for result in many(CUTMIX, 100):
        pasted = share_of(result)[..., 0] == 0  # (5, 8, 10)
        assert np.isin(share_of(result), [0, 1]).all() and (pasted == pasted[0]).all()
        y, x = np.flatnonzero(pasted[0].any(axis=1)), np.flatnonzero(pasted[0].any(axis=0))
        if len(y):
            assert pasted[0, y[0] : y[-1] + 1, x[0] : x[-1] + 1].all()
        share = 1 - pasted[0].mean()
        np.testing.assert_allclose(result["labels"][0], [1 - share, share, 0, 0], atol=1e-6)
        shares.append(share)
    # Rectangles are cut at the border, so that the mean is above that of Beta(1, 1).
    assert 0.55 < np.mean(shares) < 0.8 and min(shares) < 0.35 and max(shares) > 0.95


def test_rectangles_have_the_images_aspect_and_lie_anywhere():
    boxes = []
    for result in many(CUTMIX, 300, size=(40, 80)):
        pasted = share_of(result)[0, ..., 0] == 0
        y, x = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
        if len(y):
            boxes.append((y[0], y[-1] + 1, x[0], x[-1] + 1))
    inside = np.array([box for box in boxes if box[0] > 0 and box[1] < 40 and box[2] > 0 and box[3] < 80])
    height, width = inside[:, 1] - inside[:, 0], inside[:, 3] - inside[:, 2]
    assert len(inside) > 30 and np.abs(width - 2 * height).max() <= 2
    touched = np.zeros((40, 80), bool)
    for top, bottom, left, right in boxes:
        touched[top:bottom, left:right] = True
    assert touched.all()


def test_with_both_half_of_the_batches_each():
    both = AugmentationSettings(mixup=1.0, cutmix=1.0)
    kinds = [np.isin(share_of(result), [0, 1]).all() for result in many(both, 200)]
    assert 70 <= sum(kinds) <= 130


@pytest.mark.parametrize("settings", [MIXUP, CUTMIX], ids=["mixup", "cutmix"])
def test_nobody_is_mixed_with_a_row_that_could_not_be_read(settings):
    result = mixed(settings, weights=[1, 1, 0, 1, 1, 1])
    assert result["weights"].tolist() == [1, 0, 1, 1, 1]
    assert (result["images"][2] == 4).all() and result["labels"][2].tolist() == [0, 0, 0, 1]
    undisturbed = mixed(settings)
    for row in (0, 3, 4):
        np.testing.assert_array_equal(result["images"][row], undisturbed["images"][row])
        np.testing.assert_array_equal(result["labels"][row], undisturbed["labels"][row])


def test_with_class_factors_the_loss_is_the_mean_of_both_losses_with_theirs():
    """Cross-entropies are affine in the labels, so it is enough to compare on arbitrary losses per class."""
    factors = np.array([0.5, 3.0, 1.0, 2.0, 0.25, 4.0])
    result = mixed(MIXUP, weights=factors)
    share = share_of(result)[0, 0, 0, 0]
    losses = np.array([0.3, 1.7, 2.2, 0.1])
    of_rows = factors * losses[np.arange(6) % 4]
    expected = share * of_rows[1:] + (1 - share) * of_rows[:-1]
    np.testing.assert_allclose(result["weights"] * (result["labels"] @ losses), expected, rtol=1e-6)
    np.testing.assert_allclose(result["labels"].sum(axis=1), 1, rtol=1e-6)
