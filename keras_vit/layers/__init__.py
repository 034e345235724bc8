"""The Keras layers that the models are composed of."""

from keras_vit.layers.attention import Attention
from keras_vit.layers.convolution import GroupNorm, StandardisedConv2D
from keras_vit.layers.mlp import MLP
from keras_vit.layers.patches import PatchEncoder, Patches
from keras_vit.layers.pooling import AttentionPooling, ClassTokenPooling, GlobalAveragePooling
from keras_vit.layers.position import Learned1D, Learned2D, RelativePosition, Sincos1D, Sincos2D
from keras_vit.layers.residual import PostActivationRoot, PostActivationUnit, PreActivationRoot, PreActivationUnit
from keras_vit.layers.transformer_block import TransformerBlock

__all__ = [
    "MLP",
    "Attention",
    "AttentionPooling",
    "ClassTokenPooling",
    "GlobalAveragePooling",
    "GroupNorm",
    "Learned1D",
    "Learned2D",
    "PatchEncoder",
    "Patches",
    "PostActivationRoot",
    "PostActivationUnit",
    "PreActivationRoot",
    "PreActivationUnit",
    "RelativePosition",
    "Sincos1D",
    "Sincos2D",
    "StandardisedConv2D",
    "TransformerBlock",
]
