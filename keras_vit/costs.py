"""What an architecture costs, by formula: parameters, and floating-point operations.

Standard library only.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_vit import positions
from keras_vit.bit_architecture import BitArchitecture

if TYPE_CHECKING:
    from keras_vit.variants import Architecture


def count_params(architecture: Any) -> int:
    """Trainable parameters of an `Architecture` or `BitArchitecture`; equals `model.count_params()` of the model."""
    if isinstance(architecture, BitArchitecture):
        return _bit_params(architecture)
    a: Architecture = architecture
    width = a.width
    patches = a.map_patch_size**2 * a.map_channels * width + width
    attention = 4 * width**2 + (4 * width if a.attention_bias else 0)
    mlp = 2 * width * a.mlp_width + a.mlp_width + width
    block = 4 * width + attention + mlp
    pool = {"token": 0, "gap": 0, "map": width + 2 * width + 4 * (width**2 + width) + mlp}[a.pool]
    features = a.representation or width
    pre_logits = width * features + features if a.representation else 0
    heads = (1 + a.distillation_token) * (features * a.num_classes + a.num_classes) if a.num_classes else 0
    tables = sum(math.prod(variable.shape) for variable in positions.variables(a).values())
    encoder = a.prefix_tokens * width + tables + a.depth * block + 2 * width
    return _stem_params(a) + patches + encoder + pool + pre_logits + heads


def flops(architecture: Any) -> int:
    """Floating-point operations of one image's forward pass, a multiply-add counted as two (as the paper does).

    Matrix products and convolutions only: norms, softmax and activations add about one per cent.
    """
    if isinstance(architecture, BitArchitecture):
        return 2 * (_bit_multiplications(architecture) + architecture.features * architecture.num_classes)
    a: Architecture = architecture
    rows, columns = a.grid
    tokens, width = a.tokens, a.width
    patches = rows * columns * a.map_patch_size**2 * a.map_channels * width
    mlp = 2 * width * a.mlp_width
    attention_products = (2 + positions.POSITIONS[a.position].pair_vectors) * tokens**2 * width
    block = tokens * (4 * width**2 + mlp) + attention_products
    # The attention-pooling probe is one query: keys and values of all tokens, the rest for a single token.
    pool = tokens * 2 * width**2 + 2 * tokens * width + 2 * width**2 + mlp if a.pool == "map" else 0
    features = a.representation or width
    pre_logits = width * features if a.representation else 0
    encoder = a.depth * block + pool + pre_logits + (1 + a.distillation_token) * features * a.num_classes
    return 2 * (_stem_multiplications(a) + patches + encoder)


class Convolution(NamedTuple):
    """One convolution without bias, of `side` x `side` pixels, that makes a map of `positions`."""

    role: str
    side: int
    inputs: int
    outputs: int
    positions: int

    @property
    def weights(self) -> int:
        return self.side**2 * self.inputs * self.outputs


def convolutions(image_shape: tuple[int, ...], units: tuple[int, ...], root_width: int) -> Iterator[Convolution]:
    """Those of a ResNet with bottleneck units: root, then of each unit projection, where it has one, and three.

    Args:
        image_shape: (H, W, C).
        units: Number of units of each stage.
        root_width: Channels of the root.
    """

    def positions(stride):
        return math.prod(-(-side // stride) for side in image_shape[:2])

    yield Convolution("root", 7, image_shape[2], root_width, positions(2))
    inputs = root_width
    for stage, count in enumerate(units):
        width, stride = root_width * 2**stage, 4 * 2**stage
        for unit in range(count):
            before = stride // 2 if stage and not unit else stride
            if not unit:
                yield Convolution("projection", 1, inputs, 4 * width, positions(stride))
            yield Convolution("first", 1, inputs, width, positions(before))
            yield Convolution("second", 3, width, width, positions(stride))
            yield Convolution("third", 1, width, 4 * width, positions(stride))
            inputs = 4 * width


def _stem_params(a: "Architecture") -> int:
    """Every convolution is followed by a norm."""
    if a.stem is None:
        return 0
    return sum(each.weights + 2 * each.outputs for each in convolutions(a.image_shape, a.stem, a.root_width))


def _stem_multiplications(a: "Architecture") -> int:
    if a.stem is None:
        return 0
    return sum(each.weights * each.positions for each in convolutions(a.image_shape, a.stem, a.root_width))


def _bit_params(a: BitArchitecture) -> int:
    """Norms come before the three convolutions of a unit, and before pooling."""
    normed = ("first", "second", "third")
    count = 2 * a.features + (a.features * a.num_classes + a.num_classes if a.num_classes else 0)
    for each in convolutions(a.image_shape, a.units, a.root_width):
        count += each.weights + (2 * each.inputs if each.role in normed else 0)
    return count


def _bit_multiplications(a: BitArchitecture) -> int:
    return sum(each.weights * each.positions for each in convolutions(a.image_shape, a.units, a.root_width))
