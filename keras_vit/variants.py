"""What a variant is: the table of sizes, and the frozen architecture that a name such as `B/16` resolves to.

Standard library only, so that plans, flags and formulas need no deep-learning framework.
"""

import dataclasses
import re
from typing import Any, ClassVar, NamedTuple

from keras_vit import choices, fields, positions
from keras_vit.bit_architecture import RESNETS, BitArchitecture, parse_bit
from keras_vit.costs import count_params, flops
from keras_vit.errors import UserError

__all__ = [
    "CHOICES",
    "FAMILIES",
    "HYBRIDS",
    "SIZES",
    "VARIANTS",
    "AnyArchitecture",
    "Architecture",
    "BitArchitecture",
    "count_params",
    "flops",
    "parse",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that decides the shape and arithmetic of a Vision Transformer; it travels inside the saved model.

    Args:
        image_size: Height and width in pixels, one int for a square or a pair (H, W).
        patch_size: Side P of the square patches in pixels of the image, in a hybrid too; must divide H and W.
        channels: Channels C of the input images.
        width: Model dimension D.
        depth: Number L of Transformer blocks.
        heads: Attention heads A; must divide `width`. The head size is width / heads, not always 64.
        mlp_width: Hidden width M of each block's MLP.
        position: Kind of position embedding, a key of `keras_vit.positions.POSITIONS` (paper, appendix D.4).
        position_site: Place where it is added: `stem` (once, the default), `blocks` (before every block, each with its
            own table) or `shared` (before every block, one table): the columns of the paper's Table 8.
        pool: How tokens become one vector: `token` (class token), `gap` (mean over patch tokens), `map` (attention).
        class_token: Whether a learned class token is prepended; by default only for `pool="token"`.
        norm_site: Values that the last layer normalisation is applied to: `tokens`, before pooling (the paper), or
            `pooled`, after it (timm's `fc_norm`).
        representation: Width of the tanh layer before the head (the paper's pre-training head), or None for none.
        dropout: Rate after positions, attention output and both MLP layers (paper, appendix B.1).
        attention_dropout: Rate on the attention probabilities (0 in every published recipe).
        stochastic_depth: Rate of the last block; it grows linearly from 0 in the first (AugReg).
        gelu: `tanh` (the paper's code) or `erf` (exact; most ports).
        epsilon: Added to the variance in every layer normalisation.
        attention_bias: Whether the query, key, value and output projections have biases.
        num_classes: Classes Y; 0 leaves the head off, so that the model returns features.
        head_bias: Initial value of the head's bias (-10 for sigmoid pre-training on ImageNet-21k).
        stem: Units of each stage of a hybrid's ResNet, whose feature map is cut into patches (paper, section
            3.1, "Hybrid architecture"); () is a ResNet's root alone. None cuts the image itself.
        root_width: Channels of the stem's root convolution, a multiple of 32. Units of stage s = 1, 2, ... have
            root_width * 2^(s-1) channels inside, and four times as many outside.
        distillation_token: Whether a second token, with a head of its own, is there to learn from a teacher; the
            answer is the mean of both heads' logits (DeiT, arXiv 2012.12877, section 3). Features are those of the
            class token.

    Raises:
        UserError: for values that do not fit together; the message names them.
    """

    DESCRIPTION: ClassVar[str] = "An architecture"
    family: ClassVar[str] = "vit"

    image_size: int | tuple[int, int] = 224
    patch_size: int = 16
    channels: int = 3
    width: int
    depth: int
    heads: int
    mlp_width: int
    position: str = "learned_1d"
    position_site: str = "stem"
    pool: str = "token"
    class_token: bool | None = None
    norm_site: str = "tokens"
    representation: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    stochastic_depth: float = 0.0
    gelu: str = "tanh"
    epsilon: float = 1e-6
    attention_bias: bool = True
    num_classes: int = 1000
    head_bias: float = 0.0
    stem: tuple[int, ...] | None = None
    root_width: int = 64
    distillation_token: bool = False

    def __post_init__(self):
        object.__setattr__(self, "image_size", fields.image_size(self.image_size))
        if self.stem is not None:
            object.__setattr__(self, "stem", fields.units("stem", self.stem))
        if self.class_token is None:
            object.__setattr__(self, "class_token", self.pool == "token")
        _check_ranges(self)
        fields.check_choices(self, CHOICES)
        _check_combinations(self)
        _check_geometry(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the input."""
        size = self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return height, width, self.channels

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w): patches down and across."""
        height, width, _ = self.image_shape
        return height // self.patch_size, width // self.patch_size

    @property
    def tokens(self) -> int:
        """Length T of the encoder's sequence, the tokens before the patches included."""
        return self.sequence.tokens

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the tokens before the patches, in order."""
        return tuple(name for name in positions.PREFIX if getattr(self, name))

    @property
    def prefix_tokens(self) -> int:
        """How many tokens come before the patches."""
        return len(self.prefix)

    @property
    def sequence(self) -> positions.Sequence:
        """What positions are for."""
        return positions.Sequence(self.grid, self.prefix, self.width, self.head_size)

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    @property
    def stem_stride(self) -> int:
        """Pixels of the image from one position to the next of what is cut into patches; 1 without a stem."""
        return 1 if self.stem is None else 4 * 2 ** max(len(self.stem) - 1, 0)

    @property
    def map_patch_size(self) -> int:
        """Side of a patch on what is cut into patches: the stem's feature map, or the image."""
        return self.patch_size // self.stem_stride

    @property
    def map_channels(self) -> int:
        """Channels of what is cut into patches."""
        if self.stem is None:
            return self.channels
        return 4 * self.root_width * 2 ** (len(self.stem) - 1) if self.stem else self.root_width

    def replace(self, **overrides: Any) -> "Architecture":
        """A copy with some fields changed. A new `pool` brings its own class-token default with it."""
        fields.check_names(Architecture, overrides)
        if "pool" in overrides:
            overrides.setdefault("class_token", None)
        return dataclasses.replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        return fields.plain(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Architecture":
        fields.check_names(cls, given)
        return cls(**given)


AnyArchitecture = Architecture | BitArchitecture


class Size(NamedTuple):
    """One row of the table of sizes."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_sizes: tuple[int, ...]


class Hybrid(NamedTuple):
    """One row of the table of hybrids: the stem's stages, a size, and the side of patches in pixels of the image."""

    stem: tuple[int, ...]
    size: str
    patch_size: int


def parse(name: str, **overrides: Any) -> AnyArchitecture:
    """The architecture of a variant: `B/16`, where any patch size may follow the slash, `R50+B/16` or `BiT-R50x1`.

    Args:
        name: Name of the variant.
        **overrides: Fields that differ from the variant's, e.g. `image_size=384`.

    Raises:
        UserError: if the name is none of these, or an override does not fit.
    """
    architecture = _parse_vit(name, **overrides) or parse_bit(name, **overrides) if isinstance(name, str) else None
    if architecture is None:
        raise UserError(
            f"Unknown variant {name!r}. Expected SIZE/PATCH with SIZE one of {', '.join(SIZES)}, or BiT-NETxWIDTH "
            f"with NET one of {', '.join(RESNETS)}; published ones, hybrids among them, are {', '.join(VARIANTS)}."
        )
    return architecture


def _parse_vit(name: str, **overrides: Any) -> Architecture | None:
    match = re.fullmatch(r"([A-Za-z]+)/([1-9][0-9]*)", name)
    if name in HYBRIDS:
        stem, size, patch_size = HYBRIDS[name]
        from_name = {"stem": stem, "patch_size": patch_size}
    elif match and match[1] in SIZES:
        size, from_name = match[1], {"patch_size": int(match[2])}
    else:
        return None
    fields.check_names(Architecture, overrides)
    row = SIZES[size]
    sizes = {"width": row.width, "depth": row.depth, "heads": row.heads, "mlp_width": row.mlp_width}
    return Architecture(**{**from_name, **sizes, **overrides})


def _check_ranges(a: Architecture) -> None:
    fields.check_positive(a, "patch_size", "channels", "width", "depth", "heads", "mlp_width")
    fields.check_rates(a, "dropout", "attention_dropout", "stochastic_depth")
    fields.check_head(a)
    fields.check_root_width(a.root_width)
    if a.representation is not None and (not fields.is_int(a.representation) or a.representation < 1):
        raise UserError(f"representation is the width of the tanh layer, or None for none; got {a.representation!r}.")
    for name in ("class_token", "attention_bias", "distillation_token"):
        if not isinstance(getattr(a, name), bool):
            raise UserError(f"{name} is True or False; got {getattr(a, name)!r}.")
    if not fields.is_number(a.epsilon) or not a.epsilon > 0:
        raise UserError(f"epsilon must be positive; got {a.epsilon!r}.")


def _check_combinations(a: Architecture) -> None:
    if a.pool == "token" and not a.class_token:
        raise UserError("pool='token' reads the class token, but class_token=False; use pool='gap' or 'map'.")
    if a.distillation_token:
        fitting = {"pool": "token", "norm_site": "tokens", "representation": None}
        for name, value in fitting.items():
            if getattr(a, name) != value:
                raise UserError(
                    f"distillation_token=True has a head of its own on its token, beside {name}={value!r}; "
                    f"{name}={getattr(a, name)!r} needs distillation_token=False."
                )
    if positions.POSITIONS[a.position].acts != "tokens" and a.position_site != "stem":
        raise UserError(
            f"position={a.position!r} adds nothing to the tokens, so position_site={a.position_site!r} has no meaning; "
            "leave it at 'stem'."
        )
    usual = Architecture.root_width
    if a.stem is None and a.root_width != usual:
        raise UserError(f"root_width={a.root_width} has no meaning without a stem; leave it at {usual}.")


def _check_geometry(a: Architecture) -> None:
    height, width, _ = a.image_shape
    if height % a.patch_size or width % a.patch_size:
        sides = [max(a.patch_size, round(side / a.patch_size) * a.patch_size) for side in (height, width)]
        raise UserError(
            f"An image of {height}x{width} is not divisible into patches of {a.patch_size}; "
            f"the nearest size that is: {sides[0]}x{sides[1]}."
        )
    if a.patch_size % a.stem_stride:
        raise UserError(
            f"Patches of {a.patch_size} pixels are not whole on the feature map of stem={a.stem}, whose positions are "
            f"{a.stem_stride} pixels apart; use a multiple of {a.stem_stride}."
        )
    if a.width % a.heads:
        raise UserError(f"width {a.width} is not divisible by {a.heads} heads.")
    needed = positions.POSITIONS[a.position].width_multiple
    if a.width % needed:
        raise UserError(f"position={a.position!r} needs a width divisible by {needed}; got {a.width}.")


# The names an architecture may use, by field.
CHOICES = {
    "position": choices.POSITIONS,
    "position_site": choices.POSITION_SITES,
    "pool": choices.POOLINGS,
    "norm_site": choices.NORM_SITES,
    "gelu": choices.GELUS,
}

# Width, depth, heads, MLP width, and the patch sizes that have been published.
SIZES = {
    "mu": Size(32, 1, 2, 128, (16,)),  # big_vision's debugging model
    "Ti": Size(192, 12, 3, 768, (16,)),  # AugReg
    "S": Size(384, 12, 6, 1536, (8, 16, 32)),  # AugReg
    "M": Size(512, 12, 8, 2048, (16, 32)),  # big_vision
    "B": Size(768, 12, 12, 3072, (8, 16, 32)),  # the paper's Table 1
    "L": Size(1024, 24, 16, 4096, (14, 16, 32)),  # the paper's Table 1
    "H": Size(1280, 32, 16, 5120, (14, 16)),  # the paper's Table 1
    "g": Size(1408, 40, 16, 6144, (14,)),  # Scaling Vision Transformers
    "G": Size(1664, 48, 16, 8192, (14,)),  # Scaling Vision Transformers
}

# R+Ti/16 is called so, but its stem halves the image twice before patches of 8x8 are cut: they cover 32 pixels.
HYBRIDS = {
    "R+Ti/16": Hybrid((), "Ti", 32),  # AugReg
    "R26+S/32": Hybrid((2, 2, 2, 2), "S", 32),  # AugReg
    "R26+B/32": Hybrid((2, 2, 2, 2), "B", 32),  # the paper's code
    # The fourth stage's units in the third, for a map of twice the side (paper, section 4.1).
    "R50+B/16": Hybrid((3, 4, 9), "B", 16),
    "R50+B/32": Hybrid((3, 4, 6, 3), "B", 32),
    "R50+L/16": Hybrid((3, 4, 9), "L", 16),
    "R50+L/32": Hybrid((3, 4, 6, 3), "L", 32),
}

FAMILIES: dict[str, type[Architecture] | type[BitArchitecture]] = {"vit": Architecture, "bit": BitArchitecture}

VARIANTS: dict[str, AnyArchitecture] = {
    **{f"{name}/{patch}": parse(f"{name}/{patch}") for name, row in SIZES.items() for patch in row.patch_sizes},
    **{name: parse(name) for name in HYBRIDS},
    **{f"BiT-{name}x{width}": parse(f"BiT-{name}x{width}") for name, row in RESNETS.items() for width in row.widths},
}
