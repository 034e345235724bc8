"""Labels, losses and sums of masked patch prediction against plain numpy."""

import math

import numpy as np
import pytest
import reference
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vit.objectives import masked_patches
from keras_vit.objectives.masked_patches import TARGETS, MaskedPatches

RNG = np.random.default_rng(0)
CORRUPTED = np.array([[1, 0, 1, 0, 0, 1], [0, 0, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]], bool)
WEIGHTS = np.array([1.0, 0.0, 0.5], "float32")
CELLS = {"mean_color": 1, "downsized_colors": 4}


def batch(channels=3, side=8):
    images = RNG.uniform(-1, 1, (3, 2 * side, 3 * side, channels)).astype("float32")
    return {"images": images, "ids": np.arange(3), "labels": np.zeros(3), "weights": WEIGHTS}


def saying(predictions):
    """A model that answers with these predictions, whatever it is asked."""
    return lambda inputs, training=False: {"predictions": predictions, "corrupted": CORRUPTED}


def random_predictions(target, channels, side):
    return RNG.normal(size=(3, 6, TARGETS[target].units(side, channels))).astype("float32") * 2


def expected_labels(images, cells, mean=0.5, std=0.5):
    """(B, N, cells * cells) classes, in Python loops; the side must be a multiple of the cells."""
    batch, height = images.shape[:2]
    side = height // 2
    step = side // cells
    labels = np.zeros((batch, 6, cells * cells), int)
    for image in range(batch):
        for patch in range(6):
            top, left = patch // 3 * side, patch % 3 * side
            for cell in range(cells * cells):
                row, column = top + cell // cells * step, left + cell % cells * step
                pixels = images[image, row : row + step, column : column + step].astype("float64") * std + mean
                for channel, value in enumerate(pixels.mean(axis=(0, 1))):
                    labels[image, patch, cell] += min(math.floor(8 * value), 7) * 8**channel
    return labels


def on_corrupted(values):
    return np.array([values[image][CORRUPTED[image]].mean() for image in range(3)])


def check_sums(sums, **expected):
    assert sums.keys() == expected.keys()
    for name, values in expected.items():
        assert float(sums[name][0]) == pytest.approx((values * WEIGHTS).sum(), rel=1e-5)
        assert float(sums[name][1]) == WEIGHTS.sum()


@pytest.mark.parametrize("target", CELLS)
@pytest.mark.parametrize("channels", [1, 3])
def test_colors_equal_the_reference(target, channels):
    data, predictions = batch(channels), random_predictions(target, channels, 8)
    labels = expected_labels(data["images"], CELLS[target])
    logits = predictions.reshape(3, 6, CELLS[target] ** 2, 8**channels)
    right = logits.argmax(-1) == labels
    logits[1, 2, 0, labels[1, 2, 0]] = 50  # one is right for certain
    log_likelihoods = np.take_along_axis(reference.log_softmax(logits), labels[..., None], -1)[..., 0]
    losses, sums = MaskedPatches(target)(saying(logits.reshape(predictions.shape)), data)
    right[1, 2, 0] = True
    expected = on_corrupted(-log_likelihoods.mean(-1))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    check_sums(sums, loss=expected, masked_accuracy=on_corrupted(right.mean(-1)))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pixels_equal_the_reference(channels):
    data, predictions = batch(channels), random_predictions("pixels", channels, 8)
    patches = reference.patches((data["images"] + 1) / 2, 8)
    expected = on_corrupted(np.square(predictions - patches).mean(-1))
    losses, sums = MaskedPatches("pixels")(saying(predictions), data)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    check_sums(sums, loss=expected)


def test_mean_and_std_lead_back_to_pixels():
    mean, std = (0.2, 0.4, 0.6), (0.3, 0.2, 0.1)
    data = batch()
    objective, predictions = MaskedPatches("mean_color", mean, std), np.zeros((3, 6, 512), "float32")
    labels = expected_labels(data["images"], 1, np.array(mean), np.array(std))
    np.put_along_axis(predictions, labels, 30, axis=-1)
    _, sums = objective(saying(predictions), data)
    assert float(sums["masked_accuracy"][0] / sums["masked_accuracy"][1]) == 1


@pytest.mark.parametrize(
    "pixel, label",
    [
        ((0, 0, 0), 0),
        ((1, 0, 0), 7),
        ((0, 1, 0), 56),
        ((0, 0, 1), 448),
        ((1, 1, 1), 511),
        ((0.124, 0.125, 0.25), 0 + 8 * 1 + 64 * 2),
        ((1.2, -0.1, 0.5), 7 + 0 + 64 * 4),  # augmentation may leave the range
        ((0.5,), 4),
        ((1,), 7),
    ],
)
def test_red_counts_ones_green_eights_blue_sixty_fours(pixel, label):
    assert int(masked_patches.colors_of(np.array(pixel, "float32"))) == label


@pytest.mark.parametrize("channels", [1, 3])
def test_every_color_looks_like_itself(channels):
    classes = np.arange(8**channels)
    pixels = masked_patches.pixels_of(classes, channels)
    np.testing.assert_array_equal(masked_patches.colors_of(pixels), classes)
    np.testing.assert_allclose(np.unique(pixels), (np.arange(8) + 0.5) / 8)


@settings(max_examples=40)
@given(side=st.integers(1, 20), cells=st.sampled_from([1, 4]))
def test_downsizing_serves_any_side(side, cells):
    patches = np.random.default_rng(side).random((1, 2, side, side, 3)).astype("float32")
    downsized = np.asarray(masked_patches.downsized(patches, cells))
    for row in range(cells):
        for column in range(cells):
            y, x = (slice(math.floor(i * side / cells), math.ceil((i + 1) * side / cells)) for i in (row, column))
            expected = patches[:, :, y, x].mean(axis=(2, 3))
            np.testing.assert_allclose(downsized[:, :, row, column], expected, rtol=1e-5)


@pytest.mark.parametrize("target, start", [("mean_color", math.log(512)), ("downsized_colors", math.log(512))])
def test_losses_that_training_starts_from(target, start):
    predictions = np.zeros_like(random_predictions(target, 3, 8))
    losses, _ = MaskedPatches(target)(saying(predictions), batch())
    np.testing.assert_allclose(losses, np.full(3, start), rtol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_gradients_come_from_corrupted_patches_alone(target):
    predictions, data = tf.constant(random_predictions(target, 3, 8)), batch()
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        losses, _ = MaskedPatches(target)(saying(predictions), data)
    gradients = np.abs(tape.gradient(losses, predictions)).max(axis=-1)
    np.testing.assert_array_equal(gradients > 0, CORRUPTED)


def test_inputs_are_images_and_ids_and_training_is_handed_on():
    arguments = {}

    def model(inputs, training):
        arguments.update(inputs, training=training)
        return {"predictions": np.zeros((3, 6, 512), "float32"), "corrupted": CORRUPTED}

    data = batch()
    MaskedPatches()(model, data, training=True)
    assert arguments.keys() == {"images", "ids", "training"}
    assert arguments["training"] is True
    np.testing.assert_array_equal(arguments["ids"], data["ids"])


BAD = [
    (lambda: MaskedPatches("color"), ["'color'", *TARGETS]),
    (lambda: TARGETS["mean_color"].units(8, 2), ["1 or 3 channels", "2"]),
    (lambda: TARGETS["downsized_colors"].units(8, 4), ["1 or 3 channels", "4"]),
    (lambda: masked_patches.patch_side((None, 8, 12, 3), 5), ["8x12", "5 square patches"]),
    (lambda: masked_patches.patch_side((None, 4, 25, 3), 4), ["4x25", "4 square patches"]),
]


@pytest.mark.parametrize("make, fragments", BAD, ids=[" ".join(fragments) for _, fragments in BAD])
def test_bad_use_is_one_value_error_that_names_the_values(make, fragments):
    with pytest.raises(ValueError) as error:
        make()
    assert [fragment for fragment in fragments if fragment not in str(error.value)] == []
