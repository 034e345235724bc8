"""All that happens to a training image, in order. The same image and seed give the same result anywhere."""

import tensorflow as tf

from keras_vit.errors import UserError
from keras_vit.images import transform
from trainers.data.augmentation import color_jitter, crops, erasing, keras_layers, randaugment


def augment(image, seed, channels, preprocessing, settings):
    """A training image as the model wants it.

    Args:
        image: As a source gives it: encoded string, or pixels (H, W, C) from 0 to 255.
        seed: int64 (2,); everything random follows from it.
        channels: C.
        preprocessing: The model's `Preprocessing`: size, kernel and scale.
        settings: Needs the fields of `AugmentationSettings`.

    Returns:
        float32 (h, w, C).
    """
    image = crops.AUGMENTATIONS[settings.augment](image, seed, channels, preprocessing, settings)
    if settings.flip:
        image = tf.image.stateless_random_flip_left_right(image, tf.random.fold_in(seed, 1))
    for number, distort in enumerate(DISTORTIONS.values(), 2):
        image = distort(image, tf.random.fold_in(seed, number), settings)
    image = transform.scale(image, preprocessing)
    return erasing.erase(image, tf.random.fold_in(seed, 0), settings)


def check(preprocessing, channels: int, settings) -> None:
    """Raises UserError for a recipe that such images cannot go through, before any of them is read.

    Args:
        preprocessing: The model's `Preprocessing`.
        channels: C.
        settings: Needs the fields of `AugmentationSettings`.
    """
    if channels not in (1, 3):
        for name in ("randaugment_layers", "color_jitter", "hue_jitter"):
            if getattr(settings, name):
                raise UserError(
                    f"--{name}={getattr(settings, name)} is for grey and RGB images; these have {channels} channels."
                )
    keras_layers.check(settings, (*preprocessing.size, channels))


# In this order. Each is `f(image, seed, settings)`, values 0 to 255; without its setting it returns the image itself.
DISTORTIONS = {
    "randaugment": randaugment.distort,
    "color_jitter": color_jitter.jitter,
    "augment_layers": keras_layers.distort,
}
