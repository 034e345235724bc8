"""The group of settings that say how training images are varied."""

import dataclasses

from keras_vit.errors import UserError
from trainers.settings import layer_calls
from trainers.settings.fields import setting, table_keys

AUGMENTATIONS = table_keys("trainers/data/augmentation/crops.py", "AUGMENTATIONS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentationSettings:
    """Augmentation."""

    augment: str = setting(
        "none",
        "How training images are cropped or distorted; none is the test-time transform.",
        choices=AUGMENTATIONS,
        affects_result=True,
    )
    flip: bool = setting(False, "Whether half of the training images are mirrored.", affects_result=True)
    crop_area: float = setting(
        0.05, "With --augment=inception, least share of an image's area in a crop.", affects_result=True
    )
    train_crop: float = setting(
        0.875,
        "With --augment=small_crop and resize_crop, side of the crop in shares of the resized image's.",
        affects_result=True,
    )
    crop_padding: float = setting(
        0.125, "With --augment=pad_crop, width of the black border in shares of the image's side.", affects_result=True
    )
    randaugment_layers: int = setting(
        0, "RandAugment: how many operations, drawn at random, are applied to each image.", affects_result=True
    )
    randaugment_magnitude: int = setting(
        10,
        "RandAugment: how strong they are, from 0 to 30; the published recipes use 10, 15 and 20.",
        affects_result=True,
    )
    randaugment_quirks: bool = setting(
        True,
        "RandAugment as the published recipes ran it: contrast around a constant that depends on the image's size, "
        "solarize thresholds that wrap at 256, distances in pixels whatever its size. Without: all of it mended.",
        affects_result=True,
    )
    color_jitter: float = setting(
        0.0,
        "Brightness, contrast and saturation, in random order, times a factor up to this far from 1.",
        affects_result=True,
    )
    hue_jitter: float = setting(0.0, "Hue turned by up to so many full circles; 0.5 is any hue.", affects_result=True)
    augment_layers: str = setting(
        "",
        "Keras image layers by import name, joined by ';', e.g. keras.layers.RandomGrayscale(0.2) or, with the extra "
        "keras-cv, keras_cv.layers.GridMask(); they see pixels from 0 to 255.",
        affects_result=True,
    )
    erasing: float = setting(
        0.0, "Share of the images of which a random rectangle is replaced by noise.", affects_result=True
    )
    mixup: float = setting(
        0.0,
        "Mix each image and label with its neighbour's in the batch, by a share drawn once per batch from "
        "Beta(this, this); 0 for no mixing.",
        affects_result=True,
    )
    cutmix: float = setting(
        0.0,
        "Paste a rectangle of the neighbour's image into each, and mix labels by its area; its share is drawn as with "
        "--mixup. With both, half of the batches each.",
        affects_result=True,
    )


def check_augmentation(settings: AugmentationSettings) -> None:
    """Raises UserError for augmentation settings out of range."""
    for name in ("crop_area", "train_crop", "crop_padding"):
        if not 0 < getattr(settings, name) <= 1:
            raise UserError(f"--{name} must lie in (0, 1]; got {getattr(settings, name)}.")
    for name, (least, most) in RANGES.items():
        if not least <= getattr(settings, name) <= most:
            raise UserError(f"--{name} must lie in [{least}, {most}]; got {getattr(settings, name)}.")
    layer_calls.parse(settings.augment_layers)
    for name in ("mixup", "cutmix"):
        # Below, Beta variates are next to all 0 or 1, and not accurate.
        if getattr(settings, name) and not 0.01 <= getattr(settings, name) <= 100:
            raise UserError(f"--{name} must be 0 or lie in [0.01, 100]; got {getattr(settings, name)}.")


RANGES = {
    "randaugment_layers": (0, 16),
    "randaugment_magnitude": (0, 30),
    "color_jitter": (0, 1),
    "hue_jitter": (0, 0.5),
    "erasing": (0, 1),
}
