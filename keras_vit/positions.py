"""What is known of position embeddings without making one: where a kind acts, its variables, what it costs.

Standard library only, so that plans and formulas need no deep-learning framework. The layers with the same names are in
`keras_vit.layers.position`.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

# The tokens that may come before the patches, in their order: fields of an architecture, and of variables.
PREFIX = ("class_token", "distillation_token")

# Layer of a kind that acts inside attention, within the block's.
INSIDE = "attention/relative_position"


class Sequence(NamedTuple):
    """The tokens that a layer gives positions to.

    Args:
        grid: (h, w) of the patches.
        prefix: Names of the tokens before them, in order.
        width: Model dimension D.
        head_size: Width K of an attention head.
    """

    grid: tuple[int, int]
    prefix: tuple[str, ...]
    width: int
    head_size: int

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """Length T: patches and the tokens before them."""
        return len(self.prefix) + self.patches


class Variable(NamedTuple):
    """One variable of a layer.

    Args:
        name: Name in its layer.
        of: Kind of its entries, a key of `keras_vit.weights.adapt.RESAMPLED`: `tokens` (those before the patches,
            then the grid in raster order), `prefix`, `rows`, `columns`, or `offsets` from one token to another.
        shape: Shape of the array.
    """

    name: str
    of: str
    shape: tuple[int, ...]


class Kind(NamedTuple):
    """One row of `POSITIONS`.

    Args:
        acts: Place where it acts: on `tokens`, inside `attention`, or nowhere: None.
        variables: Variables of one layer, as it makes them.
        width_multiple: Number that the model dimension must be divisible by.
        pair_vectors: Whether every pair of tokens has a vector (K,) that queries are multiplied with.
    """

    acts: str | None = None
    variables: Callable[[Sequence], list[Variable]] = lambda sequence: []
    width_multiple: int = 1
    pair_vectors: bool = False


class Positioned(Protocol):
    """What is asked of an `Architecture`."""

    @property
    def position(self) -> str: ...
    @property
    def position_site(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def sequence(self) -> Sequence: ...


def layers(a: Positioned) -> list[str]:
    """Paths of an architecture's layers that give positions."""
    acts = POSITIONS[a.position].acts
    if acts == "attention":
        return [f"block_{i}/{INSIDE}" for i in range(a.depth)]
    if acts is None:
        return []
    sites = {"stem": ["patch_encoder/position"], "shared": ["position"]}
    return sites.get(a.position_site) or [f"position_{i}" for i in range(a.depth)]


def variables(a: Positioned) -> dict[str, Variable]:
    """An architecture's variables for positions, by path; in each layer as it makes them."""
    per_layer = POSITIONS[a.position].variables(a.sequence)
    return {f"{layer}/{variable.name}": variable for layer in layers(a) for variable in per_layer}


def _learned_1d(s: Sequence) -> list[Variable]:
    return [Variable("table", "tokens", (1, s.tokens, s.width))]


def _learned_2d(s: Sequence) -> list[Variable]:
    rows, columns = s.grid
    of_grid = [Variable(name, name, (count, s.width // 2)) for name, count in (("columns", columns), ("rows", rows))]
    of_prefix = [Variable("class_position", "prefix", (len(s.prefix), s.width))]
    return of_grid + (of_prefix if s.prefix else [])


def _relative(s: Sequence) -> list[Variable]:
    return [Variable("table", "offsets", (2 * s.patches - 1 + 2 * len(s.prefix), s.head_size))]


POSITIONS = {
    "none": Kind(),
    "learned_1d": Kind("tokens", _learned_1d),
    "learned_2d": Kind("tokens", _learned_2d, width_multiple=2),
    "relative": Kind("attention", _relative, pair_vectors=True),
    "sincos1d": Kind("tokens", width_multiple=2),
    "sincos2d": Kind("tokens", width_multiple=4),
}
