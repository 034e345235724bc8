"""Pictures of masked patch prediction (paper, appendix B.1.2)."""

import numpy as np

from keras_vit.objectives.masked_patches import TARGETS, MaskedPatches, patch_side

GREY = 0.5


def pictures(images, outputs, objective=None):
    """Originals, what of them was to be predicted, and what was, side by side.

    Args:
        images: (B, H, W, C), C 1 or 3, as the model takes them.
        outputs: Outputs of a model of `keras_vit.masking.masked_model`: `predictions` (B, N, U) and `corrupted` (B, N).
        objective: The `MaskedPatches` that the model was trained by; the paper's choice if left out.

    Returns:
        uint8 (B, H, 3 * W, C). On the left the image. In the middle all corrupted patches are grey, those included
        that the model saw replaced or as they are. On the right they have the predicted colours; where predictions
        are coarser than pixels, each is spread over its part of the patch.
    """
    objective = objective or MaskedPatches()
    originals = np.asarray(objective.pixels(images))
    corrupted_BN = np.asarray(outputs["corrupted"])
    side = patch_side(originals.shape, corrupted_BN.shape[1])
    hidden = _joined(np.tile(corrupted_BN[..., None, None, None], (side, side, 1)), originals.shape)
    predicted = np.asarray(TARGETS[objective.target].pixels(outputs["predictions"], originals.shape[-1]))
    predicted = _joined(_enlarged(predicted, side), originals.shape)
    parts = [originals, np.where(hidden, GREY, originals), np.where(hidden, predicted, originals)]
    return np.rint(255 * np.clip(np.concatenate(parts, axis=2), 0, 1)).astype("uint8")


def _enlarged(patches_BNppC, side):
    """Patches of p x p pixels with P a side: (B, N, P, P, C)."""
    nearest = np.arange(side) * patches_BNppC.shape[2] // side
    return patches_BNppC[:, :, nearest][:, :, :, nearest]


def _joined(patches_BNPPC, images_shape):
    """Patches in raster order as images (B, H, W, C)."""
    _, height, width, _ = images_shape
    side, channels = patches_BNPPC.shape[3:]
    grid = patches_BNPPC.reshape(-1, height // side, width // side, side, side, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)
