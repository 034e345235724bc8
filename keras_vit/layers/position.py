"""Position embeddings: every kind of the paper's ablation (appendix D.4), and the fixed ones of later work.

A kind is a layer `Kind(prefix_tokens=..., grid=...)`. One that acts on tokens takes them (B, T, D) and returns them
with its vectors added. One that acts inside attention takes scaled queries and keys (B, T, A, K) and returns queries,
keys, and a bias (B, A, T, T) for the attention logits or None. `POSITIONS` at the bottom names them all; what is known
of them without Keras is in `keras_vit.positions`.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_vit import positions
from keras_vit.errors import UserError

# The paper's code follows BERT here; big_vision uses 1/sqrt(D). Weights trained with either load the same.
INITIALIZER_STDDEV = 0.02


class Position(keras.layers.Layer):
    """What all kinds have in common.

    Args:
        prefix_tokens: Number of tokens that come before the patches.
        grid: (h, w) of the patches; may be left out when they form a square.
    """

    def __init__(self, prefix_tokens=1, grid=None, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.prefix_tokens = prefix_tokens
        self.grid = grid

    @classmethod
    def from_config(cls, config):
        return cls(**counted(config))


def counted(config):
    """A layer's config with the number of tokens before the patches; files up to version 0.1 name those tokens."""
    named = [config[name] for name in positions.PREFIX if name in config]
    others = {name: value for name, value in config.items() if name not in positions.PREFIX}
    return others | ({"prefix_tokens": sum(named)} if named else {})


@keras.saving.register_keras_serializable(package="keras_vit")
class Learned1D(Position):
    """One learned vector per token, class token included: the paper's default."""

    def build(self, tokens_shape):
        _, tokens, width = tokens_shape
        self.table = self.add_weight(shape=(1, tokens, width), initializer=_normal(), name="table")

    def call(self, tokens):
        return tokens + ops.cast(self.table, tokens.dtype)


@keras.saving.register_keras_serializable(package="keras_vit")
class Learned2D(Position):
    """Two learned tables of half the width: position (i, j) gets column j's vector, then row i's.

    The paper leaves the class token open; tokens before the patches get learned vectors of their own.
    """

    def build(self, tokens_shape):
        rows, columns = checked_grid(self.grid, tokens_shape, self.prefix_tokens)
        width = tokens_shape[-1]
        if width % 2:
            raise UserError(f"learned_2d needs a width divisible by 2; got {width}.")
        self.columns = self.add_weight(shape=(columns, width // 2), initializer=_normal(), name="columns")
        self.rows = self.add_weight(shape=(rows, width // 2), initializer=_normal(), name="rows")
        if self.prefix_tokens:
            self.class_position = self.add_weight(
                shape=(self.prefix_tokens, width), initializer=_normal(), name="class_position"
            )

    def call(self, tokens):
        rows, columns, half = self.rows.shape[0], self.columns.shape[0], self.rows.shape[1]
        x = ops.broadcast_to(ops.expand_dims(self.columns, 0), (rows, columns, half))
        y = ops.broadcast_to(ops.expand_dims(self.rows, 1), (rows, columns, half))
        table_ND = ops.reshape(ops.concatenate([x, y], axis=-1), (rows * columns, 2 * half))
        if self.prefix_tokens:
            table_ND = ops.concatenate([self.class_position, table_ND], axis=0)
        return tokens + ops.cast(table_ND, tokens.dtype)


@keras.saving.register_keras_serializable(package="keras_vit")
class Sincos1D(Position):
    """Fixed sines and cosines of the raster index; tokens before the patches get none."""

    def build(self, tokens_shape):
        prefix = self.prefix_tokens
        self.table_TD = _after_zeros(sincos_1d(tokens_shape[1] - prefix, tokens_shape[2]), prefix)

    def call(self, tokens):
        return tokens + ops.convert_to_tensor(self.table_TD, dtype=tokens.dtype)


@keras.saving.register_keras_serializable(package="keras_vit")
class Sincos2D(Position):
    """Fixed sines and cosines of column and row (arXiv 2205.01580); tokens before the patches get none."""

    def build(self, tokens_shape):
        grid = checked_grid(self.grid, tokens_shape, self.prefix_tokens)
        self.table_TD = _after_zeros(sincos_2d(grid, tokens_shape[2]), self.prefix_tokens)

    def call(self, tokens):
        return tokens + ops.convert_to_tensor(self.table_TD, dtype=tokens.dtype)


@keras.saving.register_keras_serializable(package="keras_vit")
class RelativePosition(Position):
    """Content-dependent relative attention: each logit gains q . r[offset] (paper, appendix D.4).

    The offset of two patches is the difference of their raster indices, -(N-1) ... N-1. What the paper leaves open:
    two more entries for each token before the patches serve every pair to and from it (its pair with itself counts as
    offset 0), one table serves all heads of a block, and q is scaled as in the logits.

    Call arguments:
        queries: (B, T, A, K), already divided by sqrt(K).
        keys: (B, T, A, K).

    Returns:
        queries and keys as they are, and the bias (B, A, T, T) for the attention logits.
    """

    def build(self, queries_shape, keys_shape=None):
        _, tokens, _, head_size = queries_shape
        patches = tokens - self.prefix_tokens
        self.index_TS = relative_index(patches, self.prefix_tokens)
        entries = 2 * patches - 1 + 2 * self.prefix_tokens
        self.table = self.add_weight(shape=(entries, head_size), initializer=_normal(), name="table")

    def call(self, queries, keys):
        offsets_TSK = ops.take(ops.cast(self.table, queries.dtype), self.index_TS, axis=0)
        return queries, keys, ops.einsum("btak,tsk->bats", queries, offsets_TSK)


def added_position(kind, **arguments):
    """The layer that adds `kind` to tokens, or None if that kind adds nothing.

    Raises:
        UserError: if `kind` is not in `POSITIONS`.
    """
    return _layer(kind, "tokens", arguments)


def attention_position(kind, **arguments):
    """The layer that acts on queries and keys for `kind`, or None if that kind does not.

    Raises:
        UserError: if `kind` is not in `POSITIONS`.
    """
    return _layer(kind, "attention", arguments)


def sincos_1d(length, width):
    """(length, width) array: [sin(n w_i), cos(n w_i)] with w_i = 10000^(-i / (width/2 - 1)).

    Raises:
        UserError: if the width is odd.
    """
    if width % 2:
        raise UserError(f"sincos1d needs a width divisible by 2; got {width}.")
    angles = np.arange(length)[:, None] * _frequencies(width // 2)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype("float32")


def sincos_2d(grid, width):
    """(h*w, width) array in raster order: [sin x, cos x, sin y, cos y], a quarter of the width each (arXiv
    2205.01580's code: frequencies 10000^(-i / (width/4 - 1))).

    Raises:
        UserError: if the width is not divisible by 4.
    """
    if width % 4:
        raise UserError(f"sincos2d needs a width divisible by 4; got {width}.")
    rows, columns = grid
    y, x = np.mgrid[:rows, :columns].reshape(2, -1, 1)
    frequencies = _frequencies(width // 4)
    waves = [np.sin(x * frequencies), np.cos(x * frequencies), np.sin(y * frequencies), np.cos(y * frequencies)]
    return np.concatenate(waves, axis=1).astype("float32")


def relative_index(patches, prefix_tokens):
    """(T, T) int array: the table entry for each query (row) and key (column).

    After the offsets come, for each token before the patches, the entry to it and the one from it; from one such token
    to another counts as to the other.
    """
    raster = np.arange(patches)
    to_prefix = 2 * patches - 1 + 2 * np.arange(prefix_tokens)
    index_TS = np.empty((prefix_tokens + patches,) * 2, "int64")
    index_TS[:, :prefix_tokens] = to_prefix
    index_TS[:prefix_tokens, prefix_tokens:] = to_prefix[:, None] + 1
    index_TS[prefix_tokens:, prefix_tokens:] = raster[:, None] - raster[None, :] + patches - 1
    np.fill_diagonal(index_TS, patches - 1)
    return index_TS


def checked_grid(grid, tokens_shape, prefix_tokens):
    """(h, w) of the patches among tokens of shape (B, T, D), the last ones; a square one where none was given.

    Raises:
        UserError: if no square fits, or the given grid does not.
    """
    patches = tokens_shape[1] - prefix_tokens
    if grid is None:
        side = math.isqrt(patches)
        grid = (side, side)
    if grid[0] * grid[1] != patches:
        raise UserError(f"{patches} patches do not form a grid of {grid[0]}x{grid[1]}; pass grid=(rows, columns).")
    return tuple(grid)


def _layer(kind, acts, arguments):
    if kind not in POSITIONS:
        raise UserError(f"Unknown position {kind!r}; choose one of {', '.join(POSITIONS)}.")
    layer = POSITIONS[kind]
    return layer(**arguments) if layer is not None and positions.POSITIONS[kind].acts == acts else None


def _normal():
    return keras.initializers.RandomNormal(stddev=INITIALIZER_STDDEV)


def _frequencies(count):
    return 10000.0 ** (-np.arange(count) / max(count - 1, 1))


def _after_zeros(table_ND, count):
    return np.concatenate([np.zeros((count, table_ND.shape[1]), table_ND.dtype), table_ND])


POSITIONS = {
    "none": None,
    "learned_1d": Learned1D,
    "learned_2d": Learned2D,
    "relative": RelativePosition,
    "sincos1d": Sincos1D,
    "sincos2d": Sincos2D,
}
