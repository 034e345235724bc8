"""Rows of a name table: arrays of a format, and the variables of the model that they are, in both directions.

Shapes here: D width, A heads, K head size, P patch side, C channels, O and I output and input of a matrix.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_vit.errors import UserError

Arrays = tuple[np.ndarray, ...]


class Row(NamedTuple):
    """Some arrays of a file and the variables that they become.

    Args:
        theirs: Names in the file.
        own: Paths of the model's variables.
        to_own: From the file's arrays to the variables' values.
        to_theirs: The inverse.
    """

    theirs: tuple[str, ...]
    own: tuple[str, ...]
    to_own: Callable[..., Arrays]
    to_theirs: Callable[..., Arrays]


def same(theirs: str, own: str) -> Row:
    """An array that is stored as it is."""
    return Row((theirs,), (own,), lambda array: (array,), lambda array: (array,))


def reshaped(theirs: str, own: str, their_shape: tuple[int, ...], own_shape: tuple[int, ...]) -> Row:
    """The same values in the same order under another shape."""
    return Row(
        (theirs,),
        (own,),
        lambda array: (_checked(array, their_shape).reshape(own_shape),),
        lambda array: (array.reshape(their_shape),),
    )


def transposed(theirs: str, own: str) -> Row:
    """A PyTorch Linear weight (O, I) and a Dense kernel (I, O)."""
    return Row((theirs,), (own,), lambda array: (_matrix(array).T,), lambda array: (array.T,))


def patch_kernel(theirs: str, own: str, patch_size: int, channels: int, width: int) -> Row:
    """A convolution (P, P, C, D) and our projection of flattened patches (P*P*C, D)."""
    side = patch_size
    return reshaped(theirs, own, (side, side, channels, width), (side * side * channels, width))


def patch_kernel_channels_first(theirs: str, own: str, patch_size: int, channels: int, width: int) -> Row:
    """A PyTorch convolution (D, C, P, P) and our projection (P*P*C, D)."""
    side = patch_size
    shape = (width, channels, side, side)
    return Row(
        (theirs,),
        (own,),
        lambda array: (_checked(array, shape).transpose(2, 3, 1, 0).reshape(-1, width),),
        lambda array: (array.reshape(side, side, channels, width).transpose(3, 2, 0, 1),),
    )


def heads_in(theirs: str, own: str, width: int, heads: int) -> tuple[Row, Row]:
    """A PyTorch Linear (A*K, D) with bias (A*K), and a kernel (D, A, K) with bias (A, K): queries, keys or values."""
    size = width // heads
    kernel = Row(
        (f"{theirs}.weight",),
        (f"{own}/kernel",),
        lambda array: (_checked(array, (width, width)).T.reshape(width, heads, size),),
        lambda array: (array.reshape(width, width).T,),
    )
    return kernel, reshaped(f"{theirs}.bias", f"{own}/bias", (width,), (heads, size))


def heads_fused(theirs: str, own: str, width: int, heads: int) -> tuple[Row, Row]:
    """timm's Linear (3*A*K, D) with bias (3*A*K): queries, keys and values, in this order."""
    size = width // heads
    parts = ("query", "key", "value")

    def kernels(array):
        return tuple(_checked(array, (3 * width, width)).reshape(3, heads, size, width).transpose(0, 3, 1, 2))

    def weight(*kernels_DAK):
        return (np.stack(kernels_DAK).transpose(0, 2, 3, 1).reshape(3 * width, width),)

    return (
        Row((f"{theirs}.weight",), tuple(f"{own}/{part}/kernel" for part in parts), kernels, weight),
        Row(
            (f"{theirs}.bias",),
            tuple(f"{own}/{part}/bias" for part in parts),
            lambda array: tuple(_checked(array, (3 * width,)).reshape(3, heads, size)),
            lambda *biases: (np.concatenate([bias.ravel() for bias in biases]),),
        ),
    )


def heads_out(theirs: str, own: str, width: int, heads: int) -> tuple[Row, Row]:
    """A PyTorch Linear (D, A*K) and a kernel (A, K, D)."""
    size = width // heads
    kernel = Row(
        (f"{theirs}.weight",),
        (f"{own}/kernel",),
        lambda array: (_checked(array, (width, width)).T.reshape(heads, size, width),),
        lambda array: (array.reshape(width, width).T,),
    )
    return kernel, same(f"{theirs}.bias", f"{own}/bias")


def linear(theirs: str, own: str) -> tuple[Row, Row]:
    """A PyTorch Linear and a Dense layer."""
    return transposed(f"{theirs}.weight", f"{own}/kernel"), same(f"{theirs}.bias", f"{own}/bias")


def norm(theirs: str, own: str) -> tuple[Row, Row]:
    """A PyTorch LayerNorm and ours."""
    return same(f"{theirs}.weight", f"{own}/gamma"), same(f"{theirs}.bias", f"{own}/beta")


def _checked(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array; raises ValueError if it has another shape."""
    if array.shape != shape:
        raise UserError(f"expected shape {shape}, but it has {array.shape}")
    return array


def _matrix(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2:
        raise UserError(f"expected a matrix, but it has shape {array.shape}")
    return array
