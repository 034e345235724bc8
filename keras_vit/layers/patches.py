"""From images to the encoder's first tokens (paper, section 3.1, equation 1)."""

import keras
from keras import ops

from keras_vit.errors import UserError
from keras_vit.layers.position import added_position
from keras_vit.positions import PREFIX


@keras.saving.register_keras_serializable(package="keras_vit")
class Patches(keras.layers.Layer):
    """Cuts images into flattened square patches, in raster order.

    Written as reshape and transpose: exact, free of the identity convolution that `ops.image.extract_patches` is, and
    made of operations every converter knows.

    Args:
        patch_size: Side P of a patch in pixels.

    Call arguments:
        images: (B, H, W, C) with H and W divisible by P and known when the layer is called.

    Returns:
        (B, N, P*P*C) with N = H/P * W/P; inside a patch the order is row, column, channel.

    Raises:
        UserError: if the images do not have four axes or do not divide into patches.
    """

    def __init__(self, patch_size, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(patch_size, int) or patch_size < 1:
            raise UserError(f"patch_size must be a positive int; got {patch_size!r}.")
        self.patch_size = patch_size

    def compute_output_shape(self, images_shape):
        batch, height, width, channels = self._checked(images_shape)
        side = self.patch_size
        return batch, (height // side) * (width // side), side * side * channels

    def call(self, images):
        _, height, width, channels = self._checked(images.shape)
        side = self.patch_size
        rows, columns = height // side, width // side
        patches = ops.reshape(images, (-1, rows, side, columns, side, channels))
        patches = ops.transpose(patches, (0, 1, 3, 2, 4, 5))  # (B, h, w, P, P, C)
        return ops.reshape(patches, (-1, rows * columns, side * side * channels))

    def _checked(self, shape):
        if len(shape) != 4 or None in shape[1:]:
            raise UserError(f"Patches takes images (B, H, W, C) with H, W and C fixed; got shape {tuple(shape)}.")
        if shape[1] % self.patch_size or shape[2] % self.patch_size:
            raise UserError(f"Images of {shape[1]}x{shape[2]} do not divide into patches of {self.patch_size}.")
        return shape


@keras.saving.register_keras_serializable(package="keras_vit")
class PatchEncoder(keras.layers.Layer):
    """Projects patches, prepends the class token and adds positions (paper, equation 1).

    Args:
        width: Model dimension D.
        position: Key of `keras_vit.layers.position.POSITIONS`.
        class_token: Whether a learned token is put before the patches.
        dropout: Rate applied to the result, positions included (paper, appendix B.1).
        grid: (h, w) of the patches; may be left out when they form a square.
        prefix: Names of the learned tokens, initialised to zero, that are put before the patches, in order, such as
            `("class_token", "distillation_token")` (DeiT, arXiv 2012.12877, section 3); left out, it follows from
            `class_token`.

    Call arguments:
        patches: (B, N, P*P*C), flattened patches.
        mask: Optional (B, N) boolean, True where a patch is real.

    Returns:
        (B, T, D) with T = N + one for each token in front.
    """

    def __init__(
        self,
        width,
        position="learned_1d",
        class_token=True,
        dropout=0.0,
        grid=None,
        prefix=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.width = width
        self.position = position
        self.prefix = (("class_token",) if class_token else ()) if prefix is None else tuple(prefix)
        self.class_token = "class_token" in self.prefix
        self.dropout = dropout
        self.grid = None if grid is None else tuple(grid)
        self.projection = keras.layers.Dense(
            width, kernel_initializer="lecun_normal", dtype=self.dtype_policy, name="projection"
        )
        self.added = added_position(
            position,
            prefix_tokens=self.prefix_tokens,
            grid=self.grid,
            dtype=self.dtype_policy,
            name="position",
        )
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    @property
    def prefix_tokens(self):
        """How many tokens come before the patches."""
        return len(self.prefix)

    @classmethod
    def from_config(cls, config):
        """Files up to version 0.1 have `distillation_token` in place of `prefix`."""
        config = dict(config)
        if config.pop("distillation_token", False):
            names = zip(PREFIX, (config.get("class_token", True), True), strict=True)
            config["prefix"] = [name for name, present in names if present]
        return cls(**config)

    def build(self, patches_shape):
        self.projection.build(patches_shape)
        shape = (1, 1, self.width)
        self.embeddings = [self.add_weight(shape=shape, initializer="zeros", name=name) for name in self.prefix]
        if self.added is not None:
            self.added.build(self.compute_output_shape(patches_shape))

    def call(self, patches, mask=None, training=False):
        return self.assembled(self.projection(patches), training=training)

    def assembled(self, embeddings, training=False):
        """The tokens (B, T, D) that patch embeddings (B, N, D) become: what `call` does after projecting."""
        tokens_BTD = embeddings
        if self.embeddings:
            batch, dtype = ops.shape(tokens_BTD)[0], tokens_BTD.dtype
            prefix = [ops.broadcast_to(ops.cast(one, dtype), (batch, 1, self.width)) for one in self.embeddings]
            tokens_BTD = ops.concatenate([*prefix, tokens_BTD], axis=1)
        if self.added is not None:
            tokens_BTD = self.added(tokens_BTD)
        return self.drop(tokens_BTD, training=training)

    def compute_mask(self, patches, mask=None):
        if mask is None or not self.prefix_tokens:
            return mask
        return ops.pad(mask, ((0, 0), (self.prefix_tokens, 0)), constant_values=True)

    def compute_output_shape(self, patches_shape):
        return patches_shape[0], patches_shape[1] + self.prefix_tokens, self.width
