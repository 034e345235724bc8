"""The test-time transform, carried out: the one function that evaluation, prediction and exported models use.

Resizing is two matrix products built in the graph. That is exact for every kernel, takes any image size, and is made
of operations that LiteRT has, unlike `tf.image.resize`, with which it agrees.
"""

import tensorflow as tf

from keras_vit.errors import UserError
from keras_vit.preprocessing import Preprocessing


def apply(image, preprocessing: Preprocessing):
    """A decoded image, or several of the same size, as the model wants it.

    Args:
        image: (..., H, W, C) uint8 or float, values 0 to 255, any height and width.
        preprocessing: The model's description of its input.

    Returns:
        float32 (..., h, w, C) with (h, w) = `preprocessing.size`.
    """
    return scale(resize(image, preprocessing), preprocessing)


def resize(image, preprocessing: Preprocessing):
    """Resizes, and crops where the description says so; float32 values still 0 to 255."""
    height, width = preprocessing.size
    if preprocessing.crop is None:
        resized = resize_to(image, preprocessing.size, preprocessing.resize, preprocessing.antialias)
    else:
        target = covering(tf.shape(image)[-3:-1], preprocessing.size, preprocessing.crop)
        window = ((target[0] - height) // 2, (target[1] - width) // 2, height, width)
        resized = resize_to(image, target, preprocessing.resize, preprocessing.antialias, window)
    return tf.ensure_shape(resized, (*image.shape[:-3], height, width, image.shape[-1]))


def covering(source, size: tuple[int, int], crop: float):
    """int32 (2,): height and width at which an image, its aspect kept, just covers `enlarged(size, crop)`.

    For squares: the shorter side is so long, the other in proportion and rounded (big_vision resize_small).

    Args:
        source: int32 (2,): height and width of the image.
        size: (height, width) of the window that is to be cut out.
        crop: Share of the enlarged size that the window is.
    """
    source = tf.cast(source, tf.float32)
    factor = tf.reduce_max(tf.constant(enlarged(size, crop), tf.float32) / source)
    return tf.maximum(tf.cast(tf.round(source * factor), tf.int32), size)


def enlarged(size: tuple[int, int], crop: float) -> tuple[int, int]:
    """Whole (height, width) of which `size` is the share `crop`: 256 for 224 and 0.875, 448 for 384 and 0.857."""
    return round(size[0] / crop), round(size[1] / crop)


def scale(image, preprocessing: Preprocessing):
    """Values 0 to 255 to what the model is fed: (x / 255 - mean) / std."""
    mean = tf.constant(preprocessing.mean, tf.float32) * 255.0
    std = tf.constant(preprocessing.std, tf.float32) * 255.0
    return (tf.cast(image, tf.float32) - mean) / std


def resize_to(image, size, kernel="bilinear", antialias=False, window=None):
    """(..., H, W, C) to float32 (..., size[0], size[1], C), or to a window of that.

    Args:
        image: (..., H, W, C), any dtype.
        size: Target (height, width); ints or an int tensor.
        kernel: Key of `KERNELS`.
        antialias: Whether the kernel widens when the image shrinks. `area` does so by nature.
        window: Top, left, height and width of the only part wanted; no work is done for the rest.

    Raises:
        UserError: if the kernel is unknown.
    """
    if kernel not in KERNELS:
        raise UserError(f"Unknown resize {kernel!r}; choose one of {', '.join(KERNELS)}.")
    shape = tf.shape(image)
    image = tf.cast(image, tf.float32)
    top, left, height, width = window or (0, 0, size[0], size[1])
    rows = resize_matrix(shape[-3], size[0], kernel, antialias, top, height)
    columns = resize_matrix(shape[-2], size[1], kernel, antialias, left, width)
    image = tf.einsum("oh,...hwc->...owc", rows, image)
    return tf.einsum("pw,...owc->...opc", columns, image)


def resize_matrix(source, target, kernel, antialias, first, count):
    """(count, source) float32 matrix of the weights with which source pixels make up target pixels from `first` on.

    Pixel centres lie at half-integers; weights that fall outside the image are shared out among those inside.
    """
    step = tf.cast(source, tf.float32) / tf.cast(target, tf.float32)
    centres = (tf.cast(first + tf.range(count), tf.float32) + 0.5) * step
    offsets = tf.range(tf.cast(source, tf.float32))[None, :] + 0.5 - centres[:, None]
    weights = KERNELS[kernel](offsets, step, tf.maximum(step, 1.0) if antialias else 1.0)
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def _triangle(offsets, step, width):
    return tf.maximum(0.0, 1.0 - tf.abs(offsets) / width)


def _cubic(offsets, step, width):
    """Keys's cubic convolution with a = -0.5."""
    x = tf.abs(offsets) / width
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return tf.where(x <= 1.0, near, tf.where(x < 2.0, far, 0.0))


def _overlap(offsets, step, width):
    """Length of source pixel [-1/2, 1/2] that lies in the target pixel's footprint."""
    upper = tf.minimum(offsets + 0.5, step / 2)
    lower = tf.maximum(offsets - 0.5, -step / 2)
    return tf.maximum(0.0, upper - lower)


KERNELS = {"bilinear": _triangle, "bicubic": _cubic, "area": _overlap}
