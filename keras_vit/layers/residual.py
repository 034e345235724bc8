"""Roots and bottleneck units of ResNets, in the two orders that the paper's models have.

Post-activation (arXiv 1512.03385), as in the stem of the paper's hybrids: norms and activations follow convolutions.
Pre-activation (1603.05027), as in BiT: they come before, and the sums of the residuals are left alone.
"""

import keras
from keras import ops

from keras_vit.layers.convolution import GroupNorm, StandardisedConv2D, halved, one_of
from keras_vit.layers.recomputation import recomputed


@keras.saving.register_keras_serializable(package="keras_vit")
class PostActivationRoot(keras.layers.Layer):
    """Convolution 7x7 of stride 2, norm, ReLU, max-pooling 3x3 of stride 2, all padded by TensorFlow's rule.

    Args:
        width: Output channels.

    Call arguments:
        images: (B, H, W, C).

    Returns:
        (B, ceil(H / 4), ceil(W / 4), width).
    """

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv = StandardisedConv2D(width, 7, 2, dtype=self.dtype_policy, name="conv", **HYBRID_CONV)
        self.norm = GroupNorm(dtype=self.dtype_policy, name="norm", **HYBRID_NORM)

    def build(self, images_shape):
        self.conv.build(images_shape)
        self.norm.build(self.conv.compute_output_shape(images_shape))

    def call(self, images):
        return ops.max_pool(ops.relu(self.norm(self.conv(images))), 3, 2, "same", "channels_last")

    def compute_output_shape(self, images_shape):
        return *halved(images_shape, 4), self.width


@keras.saving.register_keras_serializable(package="keras_vit")
class PreActivationRoot(keras.layers.Layer):
    """Convolution 7x7 of stride 2, max-pooling 3x3 of stride 2, both padded by half a kernel on each side.

    Args:
        width: Output channels.
        pool_padding: Values beyond the border for max-pooling, a key of `POOL_PADDINGS`.

    Call arguments:
        images: (B, H, W, C).

    Returns:
        (B, ceil(H / 4), ceil(W / 4), width).

    Raises:
        UserError: for an unknown padding.
    """

    def __init__(self, width, pool_padding="zeros", **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.pool_padding = one_of("pool_padding", pool_padding, POOL_PADDINGS)
        self.conv = StandardisedConv2D(width, 7, 2, dtype=self.dtype_policy, name="conv", **BIT_CONV)

    def build(self, images_shape):
        self.conv.build(images_shape)

    def call(self, images):
        beyond = POOL_PADDINGS[self.pool_padding]
        images = ops.pad(self.conv(images), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=beyond)
        return ops.max_pool(images, 3, 2, "valid", "channels_last")

    def compute_output_shape(self, images_shape):
        return *halved(images_shape, 4), self.width


class ResidualUnit(keras.layers.Layer):
    """What both kinds of bottleneck units have in common.

    Args:
        width: Channels inside; four times as many come out.
        stride: Stride of the convolution 3x3, and of the projection.

    Call arguments:
        images: (B, H, W, C).

    Returns:
        (B, ceil(H / stride), ceil(W / stride), 4 * width).

    Attributes:
        recompute: Whether in training the unit's activations are computed again for the gradient instead of kept, as in
            `TransformerBlock`.
    """

    def __init__(self, width, stride=1, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.stride = stride
        self.recompute = False

    def call(self, images, training=False):
        if self.recompute and training:
            return recomputed(self._forward, [])(images)
        return self._forward(images)

    def compute_output_shape(self, images_shape):
        return *halved(images_shape, self.stride), 4 * self.width

    def projects(self, images_shape):
        """Whether the shortcut needs a convolution to fit the branch."""
        return self.stride != 1 or images_shape[-1] != 4 * self.width

    def add_convolutions(self, images_shape, **settings):
        """Creates and builds the projection, if there is one, and the three convolutions."""
        outside, inside = 4 * self.width, (*images_shape[:-1], self.width)
        settings |= {"dtype": self.dtype_policy}
        self.projection = None
        if self.projects(images_shape):
            self.projection = StandardisedConv2D(outside, 1, self.stride, name="projection", **settings)
            self.projection.build(images_shape)
        self.conv_0 = StandardisedConv2D(self.width, 1, name="conv_0", **settings)
        self.conv_1 = StandardisedConv2D(self.width, 3, self.stride, name="conv_1", **settings)
        self.conv_2 = StandardisedConv2D(outside, 1, name="conv_2", **settings)
        self.conv_0.build(images_shape)
        self.conv_1.build(inside)
        self.conv_2.build(inside)

    def added_norm(self, name, channels, **settings):
        """A norm, built for so many channels."""
        norm = GroupNorm(dtype=self.dtype_policy, name=name, **settings)
        norm.build((None, None, None, channels))
        return norm


@keras.saving.register_keras_serializable(package="keras_vit")
class PostActivationUnit(ResidualUnit):
    """relu(shortcut + norm(conv(relu(norm(conv(relu(norm(conv(images)))))))), where a projection has a norm too.

    The last norm's scale starts at zero, so that the unit starts as its shortcut.
    """

    def build(self, images_shape):
        self.add_convolutions(images_shape, **HYBRID_CONV)
        outside = 4 * self.width
        if self.projection is not None:
            self.projection_norm = self.added_norm("projection_norm", outside, **HYBRID_NORM)
        self.norm_0 = self.added_norm("norm_0", self.width, **HYBRID_NORM)
        self.norm_1 = self.added_norm("norm_1", self.width, **HYBRID_NORM)
        self.norm_2 = self.added_norm("norm_2", outside, gamma_initializer="zeros", **HYBRID_NORM)

    def _forward(self, images):
        shortcut = images if self.projection is None else self.projection_norm(self.projection(images))
        branch = ops.relu(self.norm_0(self.conv_0(images)))
        branch = ops.relu(self.norm_1(self.conv_1(branch)))
        return ops.relu(shortcut + self.norm_2(self.conv_2(branch)))


@keras.saving.register_keras_serializable(package="keras_vit")
class PreActivationUnit(ResidualUnit):
    """shortcut + conv(relu(norm(conv(relu(norm(conv(active))))))) with active = relu(norm(images)).

    A projection takes what is active; otherwise the shortcut is the images themselves.
    """

    def build(self, images_shape):
        self.add_convolutions(images_shape, **BIT_CONV)
        self.norm_0 = self.added_norm("norm_0", images_shape[-1], **BIT_NORM)
        self.norm_1 = self.added_norm("norm_1", self.width, **BIT_NORM)
        self.norm_2 = self.added_norm("norm_2", self.width, **BIT_NORM)

    def _forward(self, images):
        active = ops.relu(self.norm_0(images))
        shortcut = images if self.projection is None else self.projection(active)
        branch = ops.relu(self.norm_1(self.conv_0(active)))
        branch = ops.relu(self.norm_2(self.conv_1(branch)))
        return shortcut + self.conv_2(branch)


# The constants of the paper's code, and of BiT's.
HYBRID_CONV = {"padding": "same", "standardisation": "deviation"}
HYBRID_NORM = {"epsilon": 1e-6}
BIT_CONV = {"padding": "symmetric", "standardisation": "variance"}
BIT_NORM = {"epsilon": 1e-5}

POOL_PADDINGS = {"zeros": 0.0, "lowest": float("-inf")}
