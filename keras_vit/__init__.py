"""Vision Transformers, hybrids and BiT ResNets for Keras 3.

Importing this package lets `keras.models.load_model` read their `.keras` files. Keras itself is only imported with it
where it was already, or else when one of the names below is first used: the tables, errors and descriptions of this
package need none, and commands answer `--help` from them.
"""

import importlib
from typing import TYPE_CHECKING

from keras_vit import installation

if TYPE_CHECKING:
    from keras_vit import layers, weights
    from keras_vit.bit import BitResNet
    from keras_vit.classifier import ImageClassifier
    from keras_vit.layers import PatchEncoder, Patches, TransformerBlock
    from keras_vit.preprocessing import Preprocessing
    from keras_vit.variants import VARIANTS, Architecture, BitArchitecture, count_params, flops, parse
    from keras_vit.vit import VisionTransformer, build

__version__ = "0.2.0.dev0"

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

_HOMES = {
    "bit": ("BitResNet",),
    "classifier": ("ImageClassifier",),
    "layers": ("PatchEncoder", "Patches", "TransformerBlock"),
    "preprocessing": ("Preprocessing",),
    "variants": ("VARIANTS", "Architecture", "BitArchitecture", "count_params", "flops", "parse"),
    "vit": ("VisionTransformer", "build"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str):
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"keras_vit.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in ("layers", "weights"):
        return importlib.import_module(f"keras_vit.{name}")
    raise AttributeError(f"module 'keras_vit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


installation.register_with_keras("keras_vit.vit", "keras_vit.weights")
