"""What a BiT variant is: the table of ResNets, and the frozen architecture that `BiT-R50x1` resolves to.

Standard library only, as `keras_vit.variants`.
"""

import dataclasses
import re
from typing import Any, ClassVar, NamedTuple

from keras_vit import fields
from keras_vit.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BitArchitecture:
    """Everything that decides the shape and arithmetic of a BiT ResNet (arXiv 1912.11370), the paper's CNN baseline.

    Its network is the pre-activation ResNet with bottleneck units, in which convolutions are weight-standardised and
    group normalisation stands in for batch normalisation. It travels inside the saved model.

    Args:
        image_size: Height and width in pixels, one int for a square or a pair (H, W); any size will do.
        channels: Channels C of the input images.
        units: Units of each stage; stages after the first halve the resolution and double the channels.
        root_width: Channels of the root convolution, a multiple of 32: 64 in x1 networks. Units of stage s = 1, 2, ...
            have root_width * 2^(s-1) channels inside, and four times as many outside.
        root_pool_padding: Values beyond the border for the root's max-pooling: `zeros` (the published networks) or
            `lowest` (minus infinity: big_vision). They differ where everything near a border is negative.
        num_classes: Classes Y; 0 leaves the head off, so that the model returns features.
        head_bias: Initial value of the head's bias (-10 for sigmoid pre-training on ImageNet-21k).

    Raises:
        UserError: for values that do not fit; the message names them.
    """

    DESCRIPTION: ClassVar[str] = "A BiT architecture"
    family: ClassVar[str] = "bit"

    image_size: int | tuple[int, int] = 224
    channels: int = 3
    units: tuple[int, ...]
    root_width: int = 64
    root_pool_padding: str = "zeros"
    num_classes: int = 1000
    head_bias: float = 0.0

    def __post_init__(self):
        object.__setattr__(self, "image_size", fields.image_size(self.image_size))
        object.__setattr__(self, "units", fields.units("units", self.units))
        if not self.units:
            raise UserError("units has the units of each stage, such as (3, 4, 6, 3); got none.")
        fields.check_positive(self, "channels")
        fields.check_root_width(self.root_width)
        fields.check_choices(self, BIT_CHOICES)
        fields.check_head(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the input."""
        size = self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return height, width, self.channels

    @property
    def stride(self) -> int:
        """Pixels from one position of the last feature map to the next."""
        return 2 ** (len(self.units) + 1)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w): positions of the last feature map down and across; halves are rounded up."""
        height, width, _ = self.image_shape
        return -(-height // self.stride), -(-width // self.stride)

    @property
    def tokens(self) -> int:
        """Positions of the last feature map."""
        rows, columns = self.grid
        return rows * columns

    @property
    def features(self) -> int:
        """Channels of the last feature map, and so of the head's input."""
        return 4 * self.root_width * 2 ** (len(self.units) - 1)

    def replace(self, **overrides: Any) -> "BitArchitecture":
        """A copy with some fields changed."""
        fields.check_names(BitArchitecture, overrides)
        return dataclasses.replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        return fields.plain(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "BitArchitecture":
        fields.check_names(cls, given)
        return cls(**given)


class ResNet(NamedTuple):
    """One row of the table of ResNets."""

    units: tuple[int, ...]
    widths: tuple[int, ...]


def parse_bit(name: str, **overrides: Any) -> BitArchitecture | None:
    """The architecture of a name such as `BiT-R50x1`, or None if it is none. Any width factor may follow the x.

    Raises:
        UserError: if an override does not fit.
    """
    match = re.fullmatch(r"BiT-(R[0-9]+)x([1-9][0-9]*)", name)
    if match is None or match[1] not in RESNETS:
        return None
    fields.check_names(BitArchitecture, overrides)
    return BitArchitecture(**{"units": RESNETS[match[1]].units, "root_width": 64 * int(match[2]), **overrides})


BIT_CHOICES = {"root_pool_padding": ("zeros", "lowest")}

# Units of each stage, and the width factors that have been published.
RESNETS = {
    "R26": ResNet((2, 2, 2, 2), (1,)),
    "R50": ResNet((3, 4, 6, 3), (1, 2, 3)),
    "R101": ResNet((3, 4, 23, 3), (1, 3)),
    "R152": ResNet((3, 8, 36, 3), (1, 2, 4)),
    "R200": ResNet((3, 24, 36, 3), (3,)),
}
