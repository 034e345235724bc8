"""Pictures of masked patch prediction: each third shows what it should."""

import numpy as np
import pytest

from keras_vit.analysis.masked_patches import pictures
from keras_vit.objectives.masked_patches import TARGETS, MaskedPatches

CORRUPTED = np.array([[True, False, False, False, True, True]])
# The middle of the three bits 7, 0, 4.
PREDICTED = {1: [239], 3: [239, 16, 143]}


def data(channels, side=8):
    levels = np.random.default_rng(0).integers(0, 256, (1, 2 * side, 3 * side, channels))
    return levels, (levels / 127.5 - 1).astype("float32")


def answers(target, channels, side=8):
    """Outputs of a model that predicts the same color everywhere."""
    predictions = np.zeros((1, 6, TARGETS[target].units(side, channels)), "float32")
    if target == "pixels":
        predictions.reshape(-1, channels)[:] = np.array(PREDICTED[channels]) / 255
    else:
        predictions.reshape(-1, 8**channels)[:, 7 if channels == 1 else 7 + 0 + 64 * 4] = 1
    return {"predictions": predictions, "corrupted": CORRUPTED}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_thirds_are_original_masked_and_predicted(target, channels):
    levels, images = data(channels)
    picture = pictures(images, answers(target, channels), MaskedPatches(target))
    assert (picture.dtype, picture.shape) == ("uint8", (1, 16, 72, channels))
    original, masked, predicted = np.split(picture, 3, axis=2)
    np.testing.assert_array_equal(original, levels)
    for patch, corrupted in enumerate(CORRUPTED[0]):
        window = (0, slice(patch // 3 * 8, patch // 3 * 8 + 8), slice(patch % 3 * 8, patch % 3 * 8 + 8))
        for part, color in ((masked, [128] * channels), (predicted, PREDICTED[channels])):
            expected = np.broadcast_to(color, (8, 8, channels)) if corrupted else levels[window]
            np.testing.assert_array_equal(part[window], expected)


@pytest.mark.parametrize("side, edges", [(8, [2, 4, 6]), (6, [2, 3, 5])])
def test_coarse_predictions_are_spread_over_the_patch(side, edges):
    _, images = data(3, side)
    outputs = answers("downsized_colors", 3, side)
    logits = outputs["predictions"].reshape(6, 16, 512)
    logits[:] = np.eye(512)[np.arange(16)]  # in raster order, the red level counts cells and starts again
    picture = pictures(images, outputs, MaskedPatches("downsized_colors"))
    first = picture[0, :side, 2 * 3 * side :][:, :side]
    rows, columns = (np.searchsorted(edges, np.arange(side), side="right") for _ in range(2))
    cells = 4 * rows[:, None] + columns
    np.testing.assert_array_equal(first[..., 0], np.rint((cells % 8 + 0.5) / 8 * 255))
    np.testing.assert_array_equal(first[..., 1], np.rint((cells // 8 + 0.5) / 8 * 255))


def test_scale_of_the_images_is_the_objective_s():
    levels, _ = data(3)
    images = ((levels / 255 - 0.4) / 0.2).astype("float32")
    picture = pictures(images, answers("mean_color", 3), MaskedPatches(mean=(0.4,), std=(0.2,)))
    np.testing.assert_array_equal(picture[:, :, :24], levels)
