"""The Vision Transformer (arXiv 2010.11929, section 3.1) as a functional Keras model."""

import functools
from typing import Any

import keras

from keras_vit.layers.patches import PatchEncoder, Patches
from keras_vit.layers.pooling import pooling
from keras_vit.layers.position import added_position
from keras_vit.layers.transformer_block import TransformerBlock
from keras_vit.preprocessing import Preprocessing
from keras_vit.variants import Architecture, parse


def build(
    variant_or_architecture: str | Architecture,
    *,
    class_names: list[str] | None = None,
    preprocessing: Preprocessing | None = None,
    dtype: Any = None,
    name: str = "vision_transformer",
    **overrides: Any,
) -> "VisionTransformer":
    """Builds a Vision Transformer, freshly initialised.

    Args:
        variant_or_architecture: A variant such as `"B/16"`, or an `Architecture`.
        class_names: Names of the Y classes, carried by the model; None when unknown.
        preprocessing: The test-time transform, carried by the model; by default a plain bilinear resize to [-1, 1].
        dtype: Keras dtype policy of all layers, e.g. `"mixed_bfloat16"`; the global policy if left out.
        name: Name of the model.
        **overrides: Fields of `Architecture` that differ from the variant's.

    Returns:
        A functional model from images (B, H, W, C) in [-1, 1] to float32 logits (B, Y), no softmax.

    Raises:
        ValueError: for an unknown variant or fields that do not fit together.
    """
    if isinstance(variant_or_architecture, Architecture):
        architecture = variant_or_architecture.replace(**overrides)
    else:
        architecture = parse(variant_or_architecture, **overrides)
    return VisionTransformer(architecture, class_names=class_names, preprocessing=preprocessing, dtype=dtype, name=name)


@keras.saving.register_keras_serializable(package="keras_vit")
class VisionTransformer(keras.Model):
    """A functional model that carries its architecture, class names and preprocessing; see `build`.

    Layers are named `patches`, `patch_encoder`, `block_0` ..., `norm`, `pool`, `pre_logits`, `head`, so that
    `keras.Model(model.input, model.get_layer("block_3").output)` gives any intermediate. The output of `pre_logits`
    is the head's input, the features. Copy a model with `VisionTransformer.from_config(model.get_config())`:
    `keras.models.clone_model` would return a plain functional model that carries nothing.
    """

    def __init__(
        self, architecture, *, class_names=None, preprocessing=None, dtype=None, name=None, frozen=(), **kwargs
    ):
        preprocessing = preprocessing or Preprocessing(size=architecture.image_shape[:2])
        _check_fit(architecture, class_names, preprocessing)
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        images = keras.Input(architecture.image_shape, name="images")
        super().__init__(inputs=images, outputs=forward(architecture, images, policy.name), name=name, **kwargs)
        self.dtype_policy = policy
        self.architecture = architecture
        self.class_names = None if class_names is None else list(class_names)
        self.preprocessing = preprocessing
        for layer in frozen:
            self.get_layer(layer).trainable = False

    def get_config(self):
        return {
            "architecture": self.architecture.to_dict(),
            "class_names": self.class_names,
            "preprocessing": self.preprocessing.to_dict(),
            "dtype": self.dtype_policy.name,
            "name": self.name,
            "trainable": self.trainable,
            "frozen": [layer.name for layer in self.layers if not layer.trainable] if self.trainable else [],
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        architecture = Architecture.from_dict(config.pop("architecture"))
        preprocessing = Preprocessing(**config.pop("preprocessing"))
        return cls(architecture, preprocessing=preprocessing, **config)


def recompute(model: keras.Model, enabled: bool = True) -> None:
    """Makes every block of a model recompute its activations in the backward pass, to save memory.

    Between forward and backward pass only each block's input is kept. A training step computes each block once more,
    about a third more work. Results stay the same, dropout masks included, up to how a compiler rounds. Models
    saved, or rebuilt from their config, do not carry the setting.

    Args:
        model: A model that contains `TransformerBlock`s, such as `build` returns.
        enabled: False switches recomputation off again.

    Raises:
        ValueError: if the model has no such blocks.
    """
    blocks = [layer for layer in model.layers if isinstance(layer, TransformerBlock)]
    if not blocks:
        raise ValueError(f"Expected a model with TransformerBlock layers to recompute; {model.name!r} has none.")
    for block in blocks:
        block.recompute = enabled


def _check_fit(architecture, class_names, preprocessing):
    """Raises ValueError if class names or preprocessing belong to another model."""
    height, width, channels = architecture.image_shape
    if class_names is not None and len(class_names) != architecture.num_classes:
        raise ValueError(f"{len(class_names)} class names for a head of {architecture.num_classes} classes.")
    if preprocessing.size != (height, width):
        raise ValueError(f"preprocessing makes images of {preprocessing.size}, but the model takes {(height, width)}.")
    if len(preprocessing.mean) not in (1, channels):
        raise ValueError(f"preprocessing has a mean for {len(preprocessing.mean)} channels; the model has {channels}.")


def forward(a: Architecture, images, policy):
    """Equations 1 to 4 over symbolic images (B, H, W, C); returns logits (B, Y), or features without a head."""
    position = functools.partial(added_position, a.position, class_token=a.class_token, grid=a.grid, dtype=policy)
    shared_position = position(name="position") if a.position_site == "shared" else None

    tokens = Patches(a.patch_size, dtype=policy, name="patches")(images)
    tokens = PatchEncoder(  # equation 1
        a.width,
        position=a.position if a.position_site == "stem" else "none",
        class_token=a.class_token,
        dropout=a.dropout,
        grid=a.grid,
        dtype=policy,
        name="patch_encoder",
    )(tokens)
    for i in range(a.depth):  # equations 2 and 3
        if a.position_site == "blocks":
            tokens = position(name=f"position_{i}")(tokens)
        elif shared_position is not None:
            tokens = shared_position(tokens)
        tokens = TransformerBlock(
            a.heads,
            a.mlp_width,
            dropout=a.dropout,
            attention_dropout=a.attention_dropout,
            stochastic_depth=a.stochastic_depth * i / max(a.depth - 1, 1),
            gelu=a.gelu,
            epsilon=a.epsilon,
            attention_bias=a.attention_bias,
            position=a.position,
            class_token=a.class_token,
            dtype=policy,
            name=f"block_{i}",
        )(tokens)
    norm = keras.layers.LayerNormalization(epsilon=a.epsilon, dtype=policy, name="norm")
    pool = pooling(a, dtype=policy, name="pool")
    features = pool(norm(tokens)) if a.norm_site == "tokens" else norm(pool(tokens))  # equation 4
    features = _pre_logits(a, policy)(features)
    return _head(a)(features) if a.num_classes else features


def _pre_logits(a, policy):
    """The tanh layer of the paper's pre-training head; an identity of the same name where there is none."""
    if a.representation is None:
        return keras.layers.Identity(dtype=policy, name="pre_logits")
    return keras.layers.Dense(
        a.representation,
        activation="tanh",
        kernel_initializer="lecun_normal",
        dtype=policy,
        name="pre_logits",
    )


def _head(a):
    """Zero-initialised, so that training starts from log Y; in float32, so that losses are too."""
    return keras.layers.Dense(
        a.num_classes,
        kernel_initializer="zeros",
        bias_initializer=keras.initializers.Constant(a.head_bias),
        dtype="float32",
        name="head",
    )
