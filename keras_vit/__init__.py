"""Vision Transformers, hybrids and BiT ResNets for Keras 3.

Importing this package lets `keras.models.load_model` read their `.keras` files.
"""

from keras_vit.installation import advice

try:
    import keras  # noqa: F401  (its backend is the one thing that may be missing)
except ModuleNotFoundError as error:
    raise advice(error) from None

from keras_vit import layers, weights
from keras_vit.bit import BitResNet
from keras_vit.classifier import ImageClassifier
from keras_vit.layers import PatchEncoder, Patches, TransformerBlock
from keras_vit.preprocessing import Preprocessing
from keras_vit.variants import VARIANTS, Architecture, BitArchitecture, count_params, flops, parse
from keras_vit.vit import VisionTransformer, build

__all__ = [
    "VARIANTS",
    "Architecture",
    "BitArchitecture",
    "BitResNet",
    "ImageClassifier",
    "PatchEncoder",
    "Patches",
    "Preprocessing",
    "TransformerBlock",
    "VisionTransformer",
    "build",
    "count_params",
    "flops",
    "layers",
    "parse",
    "weights",
]
