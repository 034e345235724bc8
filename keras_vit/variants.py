"""What a variant is: the table of sizes, and the frozen architecture that a name such as `B/16` resolves to.

Standard library only, so that plans, flags and formulas need no deep-learning framework.
"""

import dataclasses
import math
import re
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """Everything that decides the shape and arithmetic of a Vision Transformer; it travels inside the saved model.

    Args:
        image_size: Height and width in pixels, one int for a square or a pair (H, W).
        patch_size: Side P of the square patches in pixels; must divide H and W.
        channels: Channels C of the input images.
        width: Model dimension D.
        depth: Number L of Transformer blocks.
        heads: Attention heads A; must divide `width`. The head size is width / heads, not always 64.
        mlp_width: Hidden width M of each block's MLP.
        position: Kind of position embedding, a key of `keras_vit.layers.position.POSITIONS` (paper, appendix D.4).
        position_site: Where it is added: `stem` (once, the default), `blocks` (before every block, each with its own
            table) or `shared` (before every block, one table): the columns of the paper's Table 8.
        pool: How tokens become one vector: `token` (class token), `gap` (mean over patch tokens), `map` (attention).
        class_token: Whether a learned class token is prepended; by default only for `pool="token"`.
        norm_site: What the last layer normalisation is applied to: `tokens`, before pooling (the paper), or `pooled`,
            after it (timm's `fc_norm`).
        representation: Width of the tanh layer before the head (the paper's pre-training head), or None for none.
        dropout: Rate after positions, attention output and both MLP layers (paper, appendix B.1).
        attention_dropout: Rate on the attention probabilities (0 in every published recipe).
        stochastic_depth: Rate of the last block; it grows linearly from 0 in the first (AugReg).
        gelu: `tanh` (the paper's code) or `erf` (exact; most ports).
        epsilon: Added to the variance in every layer normalisation.
        attention_bias: Whether the query, key, value and output projections have biases.
        num_classes: Classes Y; 0 leaves the head off, so that the model returns features.
        head_bias: Initial value of the head's bias (-10 for sigmoid pre-training on ImageNet-21k).

    Raises:
        ValueError: for values that do not fit together; the message names them.
    """

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

    def __post_init__(self):
        object.__setattr__(self, "image_size", _image_size(self.image_size))
        if self.class_token is None:
            object.__setattr__(self, "class_token", self.pool == "token")
        _check_ranges(self)
        _check_choices(self)
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
        """Length T of the encoder's sequence, class token included."""
        rows, columns = self.grid
        return rows * columns + bool(self.class_token)

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    def replace(self, **overrides: Any) -> "Architecture":
        """A copy with some fields changed. A new `pool` brings its own class-token default with it."""
        _check_field_names(overrides)
        if "pool" in overrides:
            overrides.setdefault("class_token", None)
        return dataclasses.replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` is the inverse."""
        fields = dataclasses.asdict(self)
        if not isinstance(self.image_size, int):
            fields["image_size"] = list(self.image_size)
        return fields

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Architecture":
        _check_field_names(fields)
        return cls(**fields)


class Size(NamedTuple):
    """One row of the table of sizes."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    patch_sizes: tuple[int, ...]


def parse(name: str, **overrides: Any) -> Architecture:
    """The architecture of a variant, e.g. `parse("B/16", image_size=384)`. Any patch size may follow the slash.

    Raises:
        ValueError: if the name is not a size of the table and a patch size, or an override does not fit.
    """
    match = re.fullmatch(r"([A-Za-z]+)/([1-9][0-9]*)", name) if isinstance(name, str) else None
    if match is None or match[1] not in SIZES:
        raise ValueError(
            f"Unknown variant {name!r}. Expected SIZE/PATCH with SIZE one of {', '.join(SIZES)}; "
            f"published ones are {', '.join(VARIANTS)}."
        )
    _check_field_names(overrides)
    row = SIZES[match[1]]
    fields = {"width": row.width, "depth": row.depth, "heads": row.heads, "mlp_width": row.mlp_width}
    return Architecture(**{"patch_size": int(match[2]), **fields, **overrides})


def count_params(architecture: Architecture) -> int:
    """Trainable parameters, by formula; equals `model.count_params()` of the built model."""
    a = architecture
    width = a.width
    patches = a.patch_size**2 * a.channels * width + width
    attention = 4 * width**2 + (4 * width if a.attention_bias else 0)
    mlp = 2 * width * a.mlp_width + a.mlp_width + width
    block = 4 * width + attention + mlp
    pool = {"token": 0, "gap": 0, "map": width + 2 * width + 4 * (width**2 + width) + mlp}[a.pool]
    features = a.representation or width
    pre_logits = width * features + features if a.representation else 0
    head = features * a.num_classes + a.num_classes if a.num_classes else 0
    class_token = width if a.class_token else 0
    return patches + class_token + _position_params(a) + a.depth * block + 2 * width + pool + pre_logits + head


def flops(architecture: Architecture) -> int:
    """Floating-point operations of one image's forward pass, a multiply-add counted as two (as the paper does).

    Matrix products only: norms, softmax and activations add about one per cent.
    """
    a = architecture
    rows, columns = a.grid
    tokens, width = a.tokens, a.width
    patches = rows * columns * a.patch_size**2 * a.channels * width
    mlp = 2 * width * a.mlp_width
    attention_products = (3 if a.position == "relative" else 2) * tokens**2 * width
    block = tokens * (4 * width**2 + mlp) + attention_products
    # The attention-pooling probe is one query: keys and values of all tokens, the rest for a single token.
    pool = tokens * 2 * width**2 + 2 * tokens * width + 2 * width**2 + mlp if a.pool == "map" else 0
    features = a.representation or width
    pre_logits = width * features if a.representation else 0
    return 2 * (patches + a.depth * block + pool + pre_logits + features * a.num_classes)


def _position_params(a: Architecture) -> int:
    rows, columns = a.grid
    patches, class_token = rows * columns, bool(a.class_token)
    if a.position == "relative":
        return a.depth * (2 * patches - 1 + 2 * class_token) * a.head_size
    tables = a.depth if a.position_site == "blocks" else 1
    table = {"learned_1d": a.tokens * a.width, "learned_2d": (rows + columns) * a.width // 2 + class_token * a.width}
    return tables * table.get(a.position, 0)


def _image_size(size: Any) -> Any:
    """Squares are kept as one int, so that equal architectures compare equal."""
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(_is_int(side) and side > 0 for side in pair):
        raise ValueError(f"image_size is one positive int or a pair (height, width) of them; got {size!r}.")
    return pair[0] if pair[0] == pair[1] else pair


def _check_ranges(a: Architecture) -> None:
    for name in ("patch_size", "channels", "width", "depth", "heads", "mlp_width"):
        if not _is_int(getattr(a, name)) or getattr(a, name) < 1:
            raise ValueError(f"{name} must be a positive int; got {getattr(a, name)!r}.")
    for name in ("dropout", "attention_dropout", "stochastic_depth"):
        if not _is_number(getattr(a, name)) or not 0 <= getattr(a, name) < 1:
            raise ValueError(f"{name} is a rate in [0, 1); got {getattr(a, name)!r}.")
    if a.representation is not None and (not _is_int(a.representation) or a.representation < 1):
        raise ValueError(f"representation is the width of the tanh layer, or None for none; got {a.representation!r}.")
    if not _is_int(a.num_classes) or a.num_classes < 0:
        raise ValueError(f"num_classes must be a positive int, or 0 for no head; got {a.num_classes!r}.")
    for name in ("class_token", "attention_bias"):
        if not isinstance(getattr(a, name), bool):
            raise ValueError(f"{name} is True or False; got {getattr(a, name)!r}.")
    if not _is_number(a.head_bias):
        raise ValueError(f"head_bias must be a number; got {a.head_bias!r}.")
    if not _is_number(a.epsilon) or not a.epsilon > 0:
        raise ValueError(f"epsilon must be positive; got {a.epsilon!r}.")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _check_choices(a: Architecture) -> None:
    for name, choices in CHOICES.items():
        if getattr(a, name) not in choices:
            raise ValueError(f"Unknown {name} {getattr(a, name)!r}; choose one of {', '.join(choices)}.")
    if a.pool == "token" and not a.class_token:
        raise ValueError("pool='token' reads the class token, but class_token=False; use pool='gap' or 'map'.")
    if a.position in ("none", "relative") and a.position_site != "stem":
        raise ValueError(
            f"position={a.position!r} adds nothing to the tokens, so position_site={a.position_site!r} has no meaning; "
            "leave it at 'stem'."
        )


def _check_geometry(a: Architecture) -> None:
    height, width, _ = a.image_shape
    if height % a.patch_size or width % a.patch_size:
        sides = [max(a.patch_size, round(side / a.patch_size) * a.patch_size) for side in (height, width)]
        raise ValueError(
            f"An image of {height}x{width} is not divisible into patches of {a.patch_size}; "
            f"the nearest size that is: {sides[0]}x{sides[1]}."
        )
    if a.width % a.heads:
        raise ValueError(f"width {a.width} is not divisible by {a.heads} heads.")
    needed = {"sincos1d": 2, "sincos2d": 4, "learned_2d": 2}.get(a.position, 1)
    if a.width % needed:
        raise ValueError(f"position={a.position!r} needs a width divisible by {needed}; got {a.width}.")


def _check_field_names(fields: dict[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(Architecture)}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ValueError(
            f"An architecture has no field {', '.join(unknown)}; its fields are {', '.join(sorted(known))}."
        )


# The names an architecture may use; the classes behind them stand in the tables of keras_vit.layers.
CHOICES = {
    "position": ("none", "learned_1d", "learned_2d", "relative", "sincos1d", "sincos2d"),
    "position_site": ("stem", "blocks", "shared"),
    "pool": ("token", "gap", "map"),
    "norm_site": ("tokens", "pooled"),
    "gelu": ("tanh", "erf"),
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

VARIANTS = {f"{name}/{patch}": parse(f"{name}/{patch}") for name, row in SIZES.items() for patch in row.patch_sizes}
