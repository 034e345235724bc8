"""The objective of masked patch prediction (paper, appendix B.1.2), with the paper's three targets.

Called as those of `keras_vit.objectives.classification`, with the same kind of answer. The model is one of
`keras_vit.masking.masked_model`; `batch` holds `images` (B, H, W, C), `ids` (B,) and `weights` (B,), labels or none.

Colours have three bits per channel: a value in [0, 1] has the level floor(8 * value), the top one taking in 1, and a
colour is the class R + 8 G + 64 B. The paper leaves the order open. Grey images have 8 classes.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_vit.errors import UserError
from keras_vit.layers.patches import Patches

LEVELS = 8


@dataclasses.dataclass(frozen=True)
class MaskedPatches:
    """The loss on corrupted patches: per example their mean. The others have no part in it.

    Args:
        target: Key of `TARGETS`.
        mean: Mean of the images, per channel or one for all: pixels in [0, 1] are `images * std + mean`.
        std: Likewise.

    Raises:
        UserError: for an unknown target.
    """

    target: str = "mean_color"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self):
        if self.target not in TARGETS:
            raise UserError(f"Unknown target {self.target!r}; choose one of {', '.join(TARGETS)}.")

    def __call__(self, model, batch, training=False):
        outputs = model({"images": batch["images"], "ids": batch["ids"]}, training=training)
        predictions_BNU = ops.cast(outputs["predictions"], "float32")
        pixels_BNPPC = patches_of(self.pixels(batch["images"]), predictions_BNU.shape[1])
        corrupted_BN = ops.cast(outputs["corrupted"], "float32")
        shares_BN = corrupted_BN / ops.sum(corrupted_BN, axis=-1, keepdims=True)

        losses_BN, right_BN = TARGETS[self.target].losses(predictions_BNU, pixels_BNPPC)
        measured = {"loss": losses_BN} if right_BN is None else {"loss": losses_BN, "masked_accuracy": right_BN}
        means = {name: ops.sum(values_BN * shares_BN, axis=-1) for name, values_BN in measured.items()}
        weights_B = batch["weights"]
        sums = {name: (ops.sum(means_B * weights_B), ops.sum(weights_B)) for name, means_B in means.items()}
        return means["loss"], sums

    def pixels(self, images):
        """Pixels in [0, 1] of images as the model takes them."""
        mean, std = (ops.convert_to_tensor(values, dtype="float32") for values in (self.mean, self.std))
        return ops.cast(images, "float32") * std + mean


def patch_side(images_shape, patches):
    """Side P in pixels of the square patches that images (B, H, W, C) are divided into.

    Raises:
        UserError: if so many patches cannot be squares that fill the image.
    """
    _, height, width, _ = images_shape
    side = math.isqrt(height * width // patches)
    if side * side * patches != height * width or height % side or width % side:
        raise UserError(f"Images of {height}x{width} do not divide into {patches} square patches to predict.")
    return side


def patches_of(images, patches):
    """(B, N, P, P, C) from images (B, H, W, C), in raster order."""
    side = patch_side(images.shape, patches)
    cut_BNX = Patches(side, dtype="float32")(images)
    return ops.reshape(cut_BNX, (-1, patches, side, side, images.shape[-1]))


def color_classes(channels):
    """How many colours there are, three bits per channel.

    Raises:
        UserError: unless images are grey or RGB.
    """
    if channels not in (1, 3):
        raise UserError(f"Colours of 3 bits per channel need images of 1 or 3 channels, not {channels}.")
    return LEVELS**channels


def colors_of(pixels):
    """Classes (...) of the colours of pixels (..., C) in [0, 1]."""
    levels = ops.clip(ops.cast(ops.floor(LEVELS * pixels), "int32"), 0, LEVELS - 1)
    return sum(levels[..., channel] * LEVELS**channel for channel in range(pixels.shape[-1]))


def pixels_of(classes, channels):
    """Pixels (..., C) in [0, 1] that lie in the middle of the colours of classes (...)."""
    levels = [ops.mod(ops.floor_divide(classes, LEVELS**channel), LEVELS) for channel in range(channels)]
    return (ops.cast(ops.stack(levels, axis=-1), "float32") + 0.5) / LEVELS


def downsized(patches_BNPPC, cells):
    """(B, N, cells, cells, C): means over cells that begin at the pixel i P / cells, rounded down, and end before
    (i + 1) P / cells, rounded up, so that any P will do."""
    side = patches_BNPPC.shape[2]
    spans = [slice(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]
    rows = ops.stack([ops.mean(patches_BNPPC[:, :, span], axis=2) for span in spans], axis=2)
    return ops.stack([ops.mean(rows[:, :, :, span], axis=3) for span in spans], axis=3)


def _color_units(side, channels, *, cells):
    return cells**2 * color_classes(channels)


def _color_losses(predictions_BNU, patches_BNPPC, *, cells):
    """Cross-entropies and rightness, means over a patch's cells, so that one cell or sixteen weigh the same."""
    patches, channels = patches_BNPPC.shape[1], patches_BNPPC.shape[-1]
    labels_BNX = ops.reshape(colors_of(downsized(patches_BNPPC, cells)), (-1, patches, cells**2))
    logits_BNXY = ops.reshape(predictions_BNU, (-1, patches, cells**2, color_classes(channels)))
    losses_BNX = ops.sparse_categorical_crossentropy(labels_BNX, logits_BNXY, from_logits=True)
    right_BNX = ops.cast(ops.equal(ops.argmax(logits_BNXY, axis=-1), labels_BNX), "float32")
    return ops.mean(losses_BNX, axis=-1), ops.mean(right_BNX, axis=-1)


def _color_pixels(predictions_BNU, channels, *, cells):
    patches, classes = predictions_BNU.shape[1], color_classes(channels)
    logits = ops.reshape(predictions_BNU, (-1, patches, cells, cells, classes))
    return pixels_of(ops.argmax(logits, axis=-1), channels)


def _square_losses(predictions_BNU, patches_BNPPC):
    """Squared differences of pixels in [0, 1], means over the patch."""
    pixels_BNU = ops.reshape(patches_BNPPC, (-1, *predictions_BNU.shape[1:]))
    return ops.mean(ops.square(predictions_BNU - pixels_BNU), axis=-1), None


def _predicted_pixels(predictions_BNU, channels):
    patches, units = predictions_BNU.shape[1:]
    side = math.isqrt(units // channels)
    return ops.reshape(predictions_BNU, (-1, patches, side, side, channels))


def _colors(cells):
    """The target of the colours of cells x cells parts of a patch."""
    functions = (functools.partial(f, cells=cells) for f in (_color_units, _color_losses, _color_pixels))
    return Target(*functions)


class Target(NamedTuple):
    """One row of `TARGETS`.

    Args:
        units: U predictions per patch, from its side P and the channels C.
        losses: Function of predictions (B, N, U) about patches (B, N, P, P, C): losses (B, N), and the share that is
            right (B, N), or None where nothing is right or wrong.
        pixels: Pictures of predictions (B, N, U): (B, N, p, p, C) in [0, 1] or thereabouts, p at most P.
    """

    units: Callable[[int, int], int]
    losses: Callable[[Any, Any], tuple[Any, Any]]
    pixels: Callable[[Any, int], Any]


# The paper's choice first, then its two alternatives: 16 colours in parallel, and the pixels themselves.
TARGETS = {
    "mean_color": _colors(1),
    "downsized_colors": _colors(4),
    "pixels": Target(lambda side, channels: side**2 * channels, _square_losses, _predicted_pixels),
}
