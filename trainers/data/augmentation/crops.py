"""Training crops: from a source's image to one of the model's size, as stateless functions.

Each row of `AUGMENTATIONS` is `f(image, seed, channels, preprocessing, settings)`: a source's image (encoded string, or
pixels (H, W, C) from 0 to 255) and an int64 seed (2,) to float32 (h, w, C), values still 0 to 255, of the size in
`preprocessing`. The same image and seed give the same result on any host, at any parallelism.
"""

import math

import tensorflow as tf

from keras_vit.images import transform
from keras_vit.preprocessing import Preprocessing
from trainers.data import images
from trainers.settings.augmentation import AugmentationSettings

# The sampler's default in the official code, which writes none of its own.
ASPECTS = (0.75, 1.33)


def none(
    image: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing, settings: AugmentationSettings
):
    """The test-time transform: nothing random."""
    return transform.resize(images.decode(image, channels), preprocessing)


def inception(
    image: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing, settings: AugmentationSettings
):
    """A random window of some share of the area and of aspect 3/4 to 4/3, resized (the paper's; Szegedy et al. 2015).

    The share lies between `settings.crop_area` and 1. Images too long for any such window are taken whole.
    """
    start, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        images.shape(image, channels),
        tf.zeros((1, 0, 4)),
        seed,
        min_object_covered=0.0,
        area_range=(settings.crop_area, 1.0),
        aspect_ratio_range=ASPECTS,
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([start[:2], extent[:2]], axis=0)
    return _resized(images.decode_crop(image, window, channels), preprocessing.size, channels, preprocessing)


def small_crop(
    image: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing, settings: AugmentationSettings
):
    """A random window of the image resized to just cover size / `settings.train_crop`, its aspect kept.

    What big_vision calls resmall_crop.
    """
    image = images.decode(image, channels)
    target = transform.covering(tf.shape(image)[:2], preprocessing.size, settings.train_crop)
    return _window_of_resized(image, target, seed, channels, preprocessing)


def resize_crop(
    image: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing, settings: AugmentationSettings
):
    """A random window of the image resized to size / `settings.train_crop`, its aspect not kept."""
    image = images.decode(image, channels)
    target = tf.constant(transform.enlarged(preprocessing.size, settings.train_crop))
    return _window_of_resized(image, target, seed, channels, preprocessing)


def pad_crop(
    image: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing, settings: AugmentationSettings
):
    """A random window, as large as the image, of the image in a black border; then resized.

    The border is `settings.crop_padding` of height and width. With 0.125 it is 4 pixels of 32, usual for CIFAR (He et
    al. 2016, section 4.2).
    """
    image = images.decode(image, channels)
    size = tf.shape(image)[:2]
    border = tf.cast(tf.round(tf.cast(size, tf.float32) * settings.crop_padding), tf.int32)
    padded = tf.pad(image, tf.stack([[border[0], border[0]], [border[1], border[1]], [0, 0]]))
    top, left = tf.unstack(_corner(seed, size + 2 * border, size))
    window = padded[top : top + size[0], left : left + size[1]]
    return _resized(window, preprocessing.size, channels, preprocessing)


def affine(
    image: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing, settings: AugmentationSettings
):
    """Rotation to 15 degrees, zoom and shear to 12 %, shift to 1/16 of the side: for drawings that may not be mirrored.

    What comes in from outside the image is black.
    """
    image = transform.resize(images.decode(image, channels), preprocessing)
    height, width = preprocessing.size
    draw = tf.random.stateless_uniform((6,), seed, -1.0, 1.0)
    angle = draw[0] * math.radians(15)
    zoom_x, zoom_y, shear = 1.0 + draw[1] * 0.12, 1.0 + draw[2] * 0.12, draw[3] * 0.12
    shift_x, shift_y = draw[4] * width / 16, draw[5] * height / 16
    cos, sin = tf.cos(angle), tf.sin(angle)
    # Output pixel (x, y), seen from the centre, comes from the input at (a x + b y, c x + d y).
    a, b = zoom_x * cos, zoom_x * (shear * cos - sin)
    c, d = zoom_y * sin, zoom_y * (shear * sin + cos)
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = tf.stack([a, b, x - a * x - b * y + shift_x, c, d, y - c * x - d * y + shift_y, 0.0, 0.0])
    image = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=matrix[None],
        output_shape=preprocessing.size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )[0]
    return tf.ensure_shape(image, (height, width, channels))


def _corner(seed: tf.Tensor, whole: tf.Tensor, size: tf.Tensor):
    """int32 (2,): top and left of a window of `size` somewhere in `whole`, every place as likely."""
    draw = tf.random.stateless_uniform((2,), seed, None, None, tf.uint32)
    return tf.cast(draw % tf.cast(whole - size + 1, tf.uint32), tf.int32)


def _window_of_resized(
    image: tf.Tensor, target: tf.Tensor, seed: tf.Tensor, channels: int, preprocessing: Preprocessing
):
    """A random window of the model's size, of the image resized to `target`."""
    height, width = preprocessing.size
    top, left = tf.unstack(_corner(seed, target, preprocessing.size))
    window = tf.cond(
        # What covers the window of an image 1,000 times as long as wide is enormous.
        tf.reduce_prod(tf.cast(target, tf.int64)) > 2**24,
        lambda: transform.resize_to(
            image, target, preprocessing.resize, preprocessing.antialias, (top, left, height, width)
        ),
        lambda: _resized(image, target, channels, preprocessing)[top : top + height, left : left + width],
    )
    return tf.ensure_shape(window, (height, width, channels))


def _resized(image: tf.Tensor, size: tf.Tensor, channels: int, preprocessing: Preprocessing):
    """float32 (size[0], size[1], C) by the kernel of `preprocessing`."""
    # TensorFlow's own resize equals the test-time one, and is several times faster where nothing is exported.
    image = tf.image.resize(image, size, preprocessing.resize, antialias=preprocessing.antialias)
    return tf.ensure_shape(image, (*(size if isinstance(size, tuple) else (None, None)), channels))


AUGMENTATIONS = {
    "none": none,
    "inception": inception,
    "small_crop": small_crop,
    "resize_crop": resize_crop,
    "pad_crop": pad_crop,
    "affine": affine,
}
