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
        names: Names in the file.
        paths: Paths of the model's variables.
        to_values: Function from the file's arrays to the variables' values.
        to_arrays: Its inverse.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    to_values: Callable[..., Arrays]
    to_arrays: Callable[..., Arrays]


def same(name: str, path: str) -> Row:
    """An array that is stored as it is."""
    return Row((name,), (path,), lambda array: (array,), lambda array: (array,))


def reshaped(name: str, path: str, their_shape: tuple[int, ...], own_shape: tuple[int, ...]) -> Row:
    """The same values in the same order under another shape."""
    return Row(
        (name,),
        (path,),
        lambda array: (_checked(array, their_shape).reshape(own_shape),),
        lambda array: (array.reshape(their_shape),),
    )


def transposed(name: str, path: str) -> Row:
    """A PyTorch Linear weight (O, I) and a Dense kernel (I, O)."""
    return Row((name,), (path,), lambda array: (_matrix(array).T,), lambda array: (array.T,))


def patch_kernel(name: str, path: str, patch_size: int, channels: int, width: int) -> Row:
    """A convolution (P, P, C, D) and our projection of flattened patches (P*P*C, D)."""
    side = patch_size
    return reshaped(name, path, (side, side, channels, width), (side * side * channels, width))


def patch_kernel_channels_first(name: str, path: str, patch_size: int, channels: int, width: int) -> Row:
    """A PyTorch convolution (D, C, P, P) and our projection (P*P*C, D)."""
    side = patch_size
    shape = (width, channels, side, side)
    return Row(
        (name,),
        (path,),
        lambda array: (_checked(array, shape).transpose(2, 3, 1, 0).reshape(-1, width),),
        lambda array: (array.reshape(side, side, channels, width).transpose(3, 2, 0, 1),),
    )


def heads_in(name: str, path: str, width: int, heads: int) -> tuple[Row, Row]:
    """A PyTorch Linear (A*K, D) with bias (A*K), and a kernel (D, A, K) with bias (A, K): queries, keys or values."""
    size = width // heads
    kernel = Row(
        (f"{name}.weight",),
        (f"{path}/kernel",),
        lambda array: (_checked(array, (width, width)).T.reshape(width, heads, size),),
        lambda array: (array.reshape(width, width).T,),
    )
    return kernel, reshaped(f"{name}.bias", f"{path}/bias", (width,), (heads, size))


def heads_fused(name: str, path: str, width: int, heads: int) -> tuple[Row, Row]:
    """timm's Linear (3*A*K, D) with bias (3*A*K): queries, keys and values, in this order."""
    size = width // heads
    parts = ("query", "key", "value")

    def kernels(array):
        return tuple(_checked(array, (3 * width, width)).reshape(3, heads, size, width).transpose(0, 3, 1, 2))

    def weight(*kernels_DAK):
        return (np.stack(kernels_DAK).transpose(0, 2, 3, 1).reshape(3 * width, width),)

    return (
        Row((f"{name}.weight",), tuple(f"{path}/{part}/kernel" for part in parts), kernels, weight),
        Row(
            (f"{name}.bias",),
            tuple(f"{path}/{part}/bias" for part in parts),
            lambda array: tuple(_checked(array, (3 * width,)).reshape(3, heads, size)),
            lambda *biases: (np.concatenate([bias.ravel() for bias in biases]),),
        ),
    )


def heads_out(name: str, path: str, width: int, heads: int) -> tuple[Row, Row]:
    """A PyTorch Linear (D, A*K) and a kernel (A, K, D)."""
    size = width // heads
    kernel = Row(
        (f"{name}.weight",),
        (f"{path}/kernel",),
        lambda array: (_checked(array, (width, width)).T.reshape(heads, size, width),),
        lambda array: (array.reshape(width, width).T,),
    )
    return kernel, same(f"{name}.bias", f"{path}/bias")


def linear(name: str, path: str) -> tuple[Row, Row]:
    """A PyTorch Linear and a Dense layer."""
    return transposed(f"{name}.weight", f"{path}/kernel"), same(f"{name}.bias", f"{path}/bias")


def norm(name: str, path: str) -> tuple[Row, Row]:
    """A PyTorch LayerNorm and ours."""
    return same(f"{name}.weight", f"{path}/gamma"), same(f"{name}.bias", f"{path}/beta")


def _checked(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The array; raises ValueError if it has another shape."""
    if array.shape != shape:
        raise UserError(f"expected shape {shape}, but it has {array.shape}")
    return array


def _matrix(array: np.ndarray) -> np.ndarray:
    if array.ndim != 2:
        raise UserError(f"expected a matrix, but it has shape {array.shape}")
    return array
