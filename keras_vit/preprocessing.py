"""How a model wants its images at test time: a description that travels inside the saved model.

Standard library only. `keras_vit.images.transform` carries it out.
"""

import dataclasses
from typing import Any

from keras_vit.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The test-time transform: resize, central crop, scale.

    Args:
        size: (height, width) in pixels of what the model is fed.
        resize: Kernel: `bilinear`, `bicubic` or `area`.
        antialias: Whether the kernel widens when an image shrinks, so that every source pixel counts.
        crop: None resizes the whole image to `size`, its aspect not kept (the paper's evaluation). A fraction c keeps
            the aspect: the image is scaled until it just covers size / c, and the central `size` is cut out.
        mean: Per-channel mean, subtracted from pixels scaled to [0, 1]; one value serves all channels.
        std: Per-channel divisor after that. The default mean and std of 0.5 give values in [-1, 1].

    Raises:
        UserError: for values outside these.
    """

    size: tuple[int, int]
    resize: str = "bilinear"
    antialias: bool = False
    crop: float | None = None
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self):
        for name in ("size", "mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, (tuple, list)) else (value,))
        if len(self.size) != 2 or not all(isinstance(side, int) and side > 0 for side in self.size):
            raise UserError(f"size is (height, width) in positive pixels; got {self.size!r}.")
        if self.resize not in RESIZES:
            raise UserError(f"Unknown resize {self.resize!r}; choose one of {', '.join(RESIZES)}.")
        if self.crop is not None and not 0 < self.crop <= 1:
            raise UserError(f"crop is a fraction in (0, 1], or None for a plain resize; got {self.crop!r}.")
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0:
            raise UserError(f"mean and std need the same length and a positive std; got {self.mean!r}, {self.std!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `Preprocessing(**fields)` is the inverse."""
        fields = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


RESIZES = ("bilinear", "bicubic", "area")
