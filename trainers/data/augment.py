"""Random transformations of training images, as stateless functions.

Each is `f(image, seed, channels, preprocessing)`: a source's image (encoded string, or uint8 (H, W, C)) and a seed
(2,) of ints to float32 (h, w, C), scaled for the model. The same image and seed give the same result on any host, at
any parallelism.
"""

import math

import tensorflow as tf

from keras_vit.export import preprocessing as test_time
from trainers.data import images


def none(image, seed, channels, preprocessing):
    """The test-time transform: nothing random."""
    return test_time.transform(images.decode(image, channels), preprocessing)


def inception(image, seed, channels, preprocessing):
    """A random window of 5 to 100 % of the area and aspect 3/4 to 4/3, resized; then a random mirror (the paper's)."""
    window_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    start, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        images.shape(image, channels),
        tf.zeros((1, 0, 4)),
        window_seed,
        min_object_covered=0.0,
        area_range=(0.05, 1.0),
        aspect_ratio_range=(0.75, 1.33),
        use_image_if_no_bounding_boxes=True,
    )
    image = images.decode_crop(image, tf.concat([start[:2], extent[:2]], axis=0), channels)
    # TensorFlow's own resize equals the test-time one, and is several times faster where nothing is exported.
    image = tf.image.resize(image, preprocessing.size, preprocessing.resize, antialias=preprocessing.antialias)
    image = tf.ensure_shape(image, (*preprocessing.size, channels))
    image = tf.image.stateless_random_flip_left_right(image, flip_seed)
    return test_time.scale(image, preprocessing)


def affine(image, seed, channels, preprocessing):
    """Rotation to 15 degrees, zoom and shear to 12 %, shift to 1/16 of the side: for drawings that may not be mirrored.

    What comes in from outside the image is black.
    """
    image = test_time.resize(images.decode(image, channels), preprocessing)
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
    return test_time.scale(tf.ensure_shape(image, (height, width, channels)), preprocessing)


AUGMENTATIONS = {"none": none, "inception": inception, "affine": affine}
