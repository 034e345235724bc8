"""The group of settings that say how training images are varied."""

import dataclasses
import functools

from keras_vit.errors import UserError
from trainers.settings.choices import AUGMENTATIONS
from trainers.settings.fields import Group, setting
from trainers.settings.layer_calls import LayerCall, parse


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationSettings(Group):
    """Augmentation."""

    augment: str = setting(
        "none", "How training images are cropped or distorted; none is the test-time transform.", choices=AUGMENTATIONS
    )
    flip: bool = setting(False, "Whether half of the training images are mirrored.")
    crop_area: float = setting(0.05, "With --augment=inception, least share of an image's area in a crop.")
    train_crop: float = setting(
        0.875, "With --augment=small_crop and resize_crop, side of the crop in shares of the resized image's."
    )
    crop_padding: float = setting(
        0.125, "With --augment=pad_crop, width of the black border in shares of the image's side."
    )
    randaugment_layers: int = setting(
        0, "RandAugment: how many operations, drawn at random, are applied to each image."
    )
    randaugment_magnitude: int = setting(
        10, "RandAugment: how strong they are, from 0 to 30; the published recipes use 10, 15 and 20."
    )
    randaugment_quirks: bool = setting(
        True,
        "RandAugment as the published recipes ran it: contrast around a constant that depends on the image's size, "
        "solarize thresholds that wrap at 256, distances in pixels whatever its size. Without: all of it mended.",
    )
    color_jitter: float = setting(
        0.0, "Brightness, contrast and saturation, in random order, times a factor up to this far from 1."
    )
    hue_jitter: float = setting(0.0, "Hue turned by up to so many full circles; 0.5 is any hue.")
    augment_layers: str = setting(
        "",
        "Keras image layers by import name, joined by ';', e.g. keras.layers.RandomGrayscale(0.2) or, with the extra "
        "keras-cv, keras_cv.layers.GridMask(); they see pixels from 0 to 255.",
    )
    erasing: float = setting(0.0, "Share of the images of which a random rectangle is replaced by noise.")
    mixup: float = setting(
        0.0,
        "Mix each image and label with its neighbour's in the batch, by a share drawn once per batch from "
        "Beta(this, this); 0 for no mixing.",
    )
    cutmix: float = setting(
        0.0,
        "Paste a rectangle of the neighbour's image into each, and mix labels by its area; its share is drawn as with "
        "--mixup. With both, half of the batches each.",
    )

    @functools.cached_property
    def layers(self) -> tuple[LayerCall, ...]:
        """The layers of `augment_layers`, none of them imported yet."""
        return parse(self.augment_layers)

    def check(self) -> None:
        self.check_within("(0, 1]", "crop_area", "train_crop", "crop_padding")
        self.check_within("[0, 16]", "randaugment_layers")
        self.check_within("[0, 30]", "randaugment_magnitude")
        self.check_within("[0, 1]", "color_jitter", "erasing")
        self.check_within("[0, 0.5]", "hue_jitter")
        for name in ("mixup", "cutmix"):
            # Below, Beta variates are next to all 0 or 1, and not accurate.
            if getattr(self, name) and not 0.01 <= getattr(self, name) <= 100:
                raise UserError(f"--{name} must be 0 or lie in [0.01, 100]; got {getattr(self, name)}.")
