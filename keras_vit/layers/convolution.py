"""What ResNets here are made of in place of plain convolutions and batch normalisation (arXiv 1912.11370, section 3.2).

Both follow the precision policy, but what is averaged over many numbers is so in float32.
"""

import keras
from keras import ops

from keras_vit.errors import UserError


@keras.saving.register_keras_serializable(package="keras_vit")
class StandardisedConv2D(keras.layers.Layer):
    """A convolution without bias, each of whose filters is standardised first (weight standardisation, 1903.10520).

    The stored kernel is the raw one; its mean and deviation over height, width and input channels are taken at every
    call.

    Args:
        filters: Output channels.
        kernel_size: Side of the kernel.
        stride: Step in both directions.
        padding: `same`, TensorFlow's rule, in which a stride of 2 over an even side pads one pixel less before than
            after; or `symmetric`, kernel_size // 2 zeros on each side.
        standardisation: Place of epsilon, a key of `STANDARDISATIONS`.

    Call arguments:
        images: (B, H, W, C).

    Returns:
        (B, ceil(H / stride), ceil(W / stride), filters), for a kernel of odd side.

    Raises:
        UserError: for an unknown padding or standardisation.
    """

    def __init__(self, filters, kernel_size, stride=1, padding="same", standardisation="deviation", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = one_of("padding", padding, ("same", "symmetric"))
        self.standardisation = one_of("standardisation", standardisation, STANDARDISATIONS)

    def build(self, images_shape):
        side = self.kernel_size
        # Not cast to half precision: moments are taken in float32.
        self.kernel = self.add_weight(
            shape=(side, side, images_shape[-1], self.filters),
            initializer="lecun_normal",
            autocast=False,
            name="kernel",
        )

    def call(self, images):
        kernel = ops.cast(STANDARDISATIONS[self.standardisation](self.kernel), images.dtype)
        padding, margin = "same", self.kernel_size // 2
        if self.padding == "symmetric" and self.stride > 1:  # With stride 1 both rules are one.
            padding = "valid"
            images = ops.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0))) if margin else images
        return ops.conv(images, kernel, strides=self.stride, padding=padding, data_format="channels_last")

    def compute_output_shape(self, images_shape):
        return *halved(images_shape, self.stride), self.filters


@keras.saving.register_keras_serializable(package="keras_vit")
class GroupNorm(keras.layers.Layer):
    """Group normalisation (1803.08494): each example's groups of neighbouring channels are standardised.

    Not `keras.layers.GroupNormalization`: under a mixed policy that has scale and offset in half precision, and it
    reshapes all of the images, which on a CPU takes twice the time of reshaping per-channel means.

    Args:
        groups: Number of groups; must divide the channels.
        epsilon: Added to the variance.
        gamma_initializer: Initializer of the scale; `zeros` lets a residual branch start as nothing.

    Call arguments:
        images: (B, H, W, C).

    Returns:
        (B, H, W, C).

    Raises:
        UserError: if the groups do not divide the channels.
    """

    def __init__(self, groups=32, epsilon=1e-6, gamma_initializer="ones", **kwargs):
        super().__init__(**kwargs)
        self.groups = groups
        self.epsilon = epsilon
        self.gamma_initializer = gamma_initializer

    def build(self, images_shape):
        channels = images_shape[-1]
        if channels % self.groups:
            raise UserError(f"{channels} channels do not divide into {self.groups} groups.")
        settings = {"shape": (channels,), "autocast": False}
        self.gamma = self.add_weight(initializer=self.gamma_initializer, name="gamma", **settings)
        self.beta = self.add_weight(initializer="zeros", name="beta", **settings)

    def call(self, images):
        images_BHWC = ops.cast(images, "float32")
        # In two passes: the difference of mean square and squared mean loses digits where the mean is large.
        means_B11C = self._group_means(images_BHWC)
        variances_B11C = self._group_means(ops.square(images_BHWC - means_B11C))
        scale_B11C = self.gamma * ops.rsqrt(variances_B11C + self.epsilon)
        return ops.cast(images_BHWC * scale_B11C + (self.beta - means_B11C * scale_B11C), images.dtype)

    def compute_output_shape(self, images_shape):
        return images_shape

    def _group_means(self, images_BHWC):
        """(B, 1, 1, C): for each channel the mean over its group and all positions."""
        channels = images_BHWC.shape[-1]
        size = channels // self.groups
        means_BGS = ops.reshape(ops.mean(images_BHWC, axis=(1, 2)), (-1, self.groups, size))
        means_BG = ops.mean(means_BGS, axis=-1)
        return ops.reshape(ops.repeat(means_BG, size, axis=-1), (-1, 1, 1, channels))


def one_of(name, value, choices):
    """The value; raises ValueError if it is none of the choices."""
    if value not in choices:
        raise UserError(f"Unknown {name} {value!r}; choose one of {', '.join(choices)}.")
    return value


def halved(images_shape, stride):
    """(B, H, W) of a map after a stride; sides that do not divide are rounded up."""
    batch, *sides, _ = images_shape
    return batch, *(side if side is None else -(-side // stride) for side in sides)


def by_deviation(kernel):
    """Epsilon beside the standard deviation: the stem of the paper's hybrids."""
    centred, variance = _moments(kernel)
    return centred / (ops.sqrt(variance) + 1e-5)


def by_variance(kernel):
    """Epsilon beside the variance: the published BiT networks."""
    centred, variance = _moments(kernel)
    return centred / ops.sqrt(variance + 1e-10)


def _moments(kernel_hwIO):
    """The kernel less each filter's mean, and each filter's population variance."""
    centred = kernel_hwIO - ops.mean(kernel_hwIO, axis=(0, 1, 2), keepdims=True)
    return centred, ops.mean(ops.square(centred), axis=(0, 1, 2), keepdims=True)


STANDARDISATIONS = {"deviation": by_deviation, "variance": by_variance}
