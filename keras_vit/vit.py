"""The Vision Transformer (arXiv 2010.11929, section 3.1) as a functional Keras model."""

import functools
from typing import Any, NamedTuple

import keras

from keras_vit.bit import BitResNet, stem_map
from keras_vit.classifier import ImageClassifier, head
from keras_vit.errors import UserError
from keras_vit.layers.patches import PatchEncoder, Patches
from keras_vit.layers.pooling import ClassTokenPooling, pooling
from keras_vit.layers.position import added_position
from keras_vit.layers.residual import ResidualUnit
from keras_vit.layers.transformer_block import TransformerBlock
from keras_vit.preprocessing import Preprocessing
from keras_vit.variants import AnyArchitecture, Architecture, BitArchitecture, parse


def build(
    variant_or_architecture: str | AnyArchitecture,
    *,
    class_names: list[str] | None = None,
    preprocessing: Preprocessing | None = None,
    dtype: Any = None,
    name: str | None = None,
    **overrides: Any,
) -> ImageClassifier:
    """Builds a Vision Transformer, hybrid or BiT ResNet, freshly initialised.

    Args:
        variant_or_architecture: A variant such as `"B/16"`, `"R50+B/16"` or `"BiT-R50x1"`, or an `Architecture` or
            `BitArchitecture`.
        class_names: Names of the Y classes, carried by the model; None when unknown.
        preprocessing: The test-time transform, carried by the model; by default a plain bilinear resize to [-1, 1].
        dtype: Keras dtype policy of all layers, e.g. `"mixed_bfloat16"`; the global policy if left out.
        name: Name of the model; by default that of its family.
        **overrides: Fields of the architecture that differ from the variant's.

    Returns:
        A functional model from images (B, H, W, C) in [-1, 1] to float32 logits (B, Y), no softmax.

    Raises:
        UserError: for an unknown variant or fields that do not fit together.
    """
    if isinstance(variant_or_architecture, (Architecture, BitArchitecture)):
        architecture = variant_or_architecture.replace(**overrides)
    else:
        architecture = parse(variant_or_architecture, **overrides)
    kind, usual_name = MODELS[architecture.family]
    return kind(
        architecture, class_names=class_names, preprocessing=preprocessing, dtype=dtype, name=name or usual_name
    )


def recompute(model: keras.Model, enabled: bool = True) -> None:
    """Makes every block or residual unit of a model recompute its activations in the backward pass, to save memory.

    Between forward and backward pass only each block's input is kept. A training step computes each block once more,
    about a third more work. Results stay the same, dropout masks included, up to how a compiler rounds. Models
    saved, or rebuilt from their config, do not carry the setting.

    Args:
        model: A model that contains `TransformerBlock`s or `ResidualUnit`s, such as `build` returns.
        enabled: False switches recomputation off again.

    Raises:
        UserError: if the model has no such blocks.
    """
    blocks = [layer for layer in model.layers if isinstance(layer, (TransformerBlock, ResidualUnit))]
    if not blocks:
        raise UserError(f"Expected a model with TransformerBlock or ResidualUnit layers; {model.name!r} has none.")
    for block in blocks:
        block.recompute = enabled


def forward(a: Architecture, images, policy):
    """Equations 1 to 4 over symbolic images (B, H, W, C); returns logits (B, Y), or features without a head.

    In a hybrid, patches are cut from the stem's feature map in place of the images (paper, section 3.1).
    """
    places = {"prefix_tokens": a.prefix_tokens, "grid": a.grid}
    position = functools.partial(added_position, a.position, **places, dtype=policy)
    shared_position = position(name="position") if a.position_site == "shared" else None

    feature_map = images if a.stem is None else stem_map(a, images, policy)
    tokens = Patches(a.map_patch_size, dtype=policy, name="patches")(feature_map)
    tokens = PatchEncoder(  # equation 1
        a.width,
        position=a.position if a.position_site == "stem" else "none",
        dropout=a.dropout,
        grid=a.grid,
        prefix=a.prefix,
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
            **places,
            dtype=policy,
            name=f"block_{i}",
        )(tokens)
    norm = keras.layers.LayerNormalization(epsilon=a.epsilon, dtype=policy, name="norm")
    pool = pooling(a, dtype=policy, name="pool")
    if a.norm_site == "pooled":
        return head(a, _pre_logits(a, policy)(norm(pool(tokens))))
    encoded = norm(tokens)
    logits = head(a, _pre_logits(a, policy)(pool(encoded)))  # equation 4
    return _with_distilled(a, logits, encoded, policy) if a.distillation_token and a.num_classes else logits


def _with_distilled(a, logits, encoded, policy):
    """The mean of the class head's logits and the distillation head's (DeiT, arXiv 2012.12877, section 3,
    "Classification with our approach")."""
    index = a.prefix.index("distillation_token")
    feature = ClassTokenPooling(index, dtype=policy, name="pool_distillation")(encoded)
    distilled = head(a, feature, name="head_distillation")
    return keras.layers.Average(dtype="float32", name="mean_logits")([logits, distilled])


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


@keras.saving.register_keras_serializable(package="keras_vit")
class VisionTransformer(ImageClassifier):
    """A Vision Transformer that carries its architecture, class names and preprocessing; see `build`.

    Layers are named `patches`, `patch_encoder`, `block_0` ..., `norm`, `pool`, `pre_logits`, `head`, a hybrid's first
    ones `root`, `stage_0_unit_0` ..., those of a distillation token `pool_distillation`, `head_distillation`, so that
    `keras.Model(model.input, model.get_layer("block_3").output)` gives any intermediate.
    """

    architecture_type = Architecture
    compose = staticmethod(forward)


class Family(NamedTuple):
    """One row of `MODELS`: the class of a family's models, and what they are called."""

    kind: type[ImageClassifier]
    name: str


MODELS = {"vit": Family(VisionTransformer, "vision_transformer"), "bit": Family(BitResNet, "bit_resnet")}
