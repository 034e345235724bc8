"""ResNets of weight-standardised convolutions and group normalisation: whole, as the paper's CNN baseline (section 4.1,
"ResNet (BiT)"; arXiv 1912.11370), or truncated, as the stem of its hybrids (section 3.1).

Layers are named `root` and `stage_0_unit_0` ..., in both.
"""

import keras

from keras_vit.classifier import ImageClassifier, head
from keras_vit.layers.convolution import GroupNorm
from keras_vit.layers.residual import (
    BIT_NORM,
    PostActivationRoot,
    PostActivationUnit,
    PreActivationRoot,
    PreActivationUnit,
)
from keras_vit.variants import Architecture, BitArchitecture


def stem_map(a: Architecture, images, policy):
    """The feature map of a hybrid's stem, over symbolic images (B, H, W, C)."""
    feature_map = PostActivationRoot(a.root_width, dtype=policy, name="root")(images)
    return _stages(PostActivationUnit, a.stem or (), a.root_width, feature_map, policy)


def logits(a: BitArchitecture, images, policy):
    """The whole ResNet over symbolic images (B, H, W, C); returns logits (B, Y), or features without a head."""
    root = PreActivationRoot(a.root_width, a.root_pool_padding, dtype=policy, name="root")
    feature_map = _stages(PreActivationUnit, a.units, a.root_width, root(images), policy)
    feature_map = GroupNorm(dtype=policy, name="norm", **BIT_NORM)(feature_map)
    feature_map = keras.layers.ReLU(dtype=policy, name="relu")(feature_map)
    features = keras.layers.GlobalAveragePooling2D(data_format="channels_last", dtype=policy, name="pool")(feature_map)
    return head(a, keras.layers.Identity(dtype=policy, name="pre_logits")(features))


def _stages(kind, units, width, feature_map, policy):
    """Stages of units; each but the first begins by halving the resolution."""
    for stage, count in enumerate(units):
        for unit in range(count):
            stride = 2 if stage and not unit else 1
            layer = kind(width * 2**stage, stride, dtype=policy, name=f"stage_{stage}_unit_{unit}")
            feature_map = layer(feature_map)
    return feature_map


@keras.saving.register_keras_serializable(package="keras_vit")
class BitResNet(ImageClassifier):
    """A BiT ResNet that carries its architecture, class names and preprocessing; see `keras_vit.build`.

    Layers are named `root`, `stage_0_unit_0` ..., `norm`, `relu`, `pool`, `pre_logits`, `head`.
    """

    architecture_type = BitArchitecture
    compose = staticmethod(logits)
