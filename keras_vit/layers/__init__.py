"""The Keras layers that a Vision Transformer is composed of."""

from keras_vit.layers.attention import Attention
from keras_vit.layers.mlp import MLP
from keras_vit.layers.patches import PatchEncoder, Patches
from keras_vit.layers.pooling import AttentionPooling, ClassTokenPooling, GlobalAveragePooling
from keras_vit.layers.position import Learned1D, Learned2D, RelativePosition, Sincos1D, Sincos2D
from keras_vit.layers.transformer_block import TransformerBlock

__all__ = [
    "MLP",
    "Attention",
    "AttentionPooling",
    "ClassTokenPooling",
    "GlobalAveragePooling",
    "Learned1D",
    "Learned2D",
    "PatchEncoder",
    "Patches",
    "RelativePosition",
    "Sincos1D",
    "Sincos2D",
    "TransformerBlock",
]
