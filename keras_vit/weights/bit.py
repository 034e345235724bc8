"""BiT's `.npz` files, as published beside "Big Transfer" (arXiv 1912.11370).

big_vision has names of its own for the same network; they are read as well. What arrays do not tell is what stands
beyond the border for the root's max-pooling: zeros in the published code, minus infinity in big_vision's. So the names
decide, unless the file was written here and says.
"""

import re
from typing import Any

import numpy as np

from keras_vit.errors import UserError
from keras_vit.variants import AnyArchitecture, BitArchitecture
from keras_vit.weights import google
from keras_vit.weights.rows import Arrays, Row, same
from keras_vit.weights.stored import Stored

ROOT_KERNEL = "resnet/root_block/standardized_conv2d/kernel"
BIG_VISION_ROOT_KERNEL = "root_block/conv_root/kernel"
HEAD_BIAS = "resnet/head/conv2d/bias"


def recognises(stored: Stored) -> bool:
    """True where the root's kernel goes by either name."""
    return BIG_VISION_ROOT_KERNEL in stored.shapes or ROOT_KERNEL in named(stored).shapes


def named(stored: Stored) -> Stored:
    """The arrays under the names of the table: some files number the convolutions, big_vision has other names."""
    names = {}
    for name in stored.shapes:
        own = re.sub(r"/standardized_conv2d_\d+/", "/standardized_conv2d/", name)
        for pattern, replacement in BIG_VISION.items():
            own = re.sub(pattern, replacement, own)
        names[own] = name
    return stored.renamed(names)


def architecture(stored: Stored) -> dict[str, Any]:
    """Architecture fields that the arrays and their names tell, but for the image size.

    Raises:
        KeyError, ValueError, IndexError: if arrays that every BiT ResNet has are missing or misshapen.
    """
    big_vision = stored.origin(ROOT_KERNEL).endswith(BIG_VISION_ROOT_KERNEL)
    return {
        "family": "bit",
        **google.resnet_fields(stored.shapes, ROOT_KERNEL),
        "root_pool_padding": "lowest" if big_vision else "zeros",
        "num_classes": stored.shapes[HEAD_BIAS][0] if HEAD_BIAS in stored.shapes else 0,
    }


def positions(stored: Stored) -> int | None:
    """There are no positions."""
    return None


def preprocessing(stored: Stored) -> dict[str, Any]:
    """Fields of `Preprocessing`: its defaults, which scale as BiT does."""
    return {}


def class_names(stored: Stored) -> list[str] | None:
    """The file names no classes."""
    return None


def table(a: BitArchitecture) -> list[Row]:
    """The rows of the name table that an architecture has."""
    rows = [same(ROOT_KERNEL, "root/conv/kernel"), *_group_norm("resnet", "norm")]
    for stage, count in enumerate(a.units):
        for unit in range(count):
            name, path = f"resnet/block{stage + 1}/unit{unit + 1:02d}", f"stage_{stage}_unit_{unit}"
            for i, letter in enumerate("abc"):
                rows.append(same(f"{name}/{letter}/standardized_conv2d/kernel", f"{path}/conv_{i}/kernel"))
                rows += _group_norm(f"{name}/{letter}", f"{path}/norm_{i}")
            if not unit:
                rows.append(same(f"{name}/a/proj/standardized_conv2d/kernel", f"{path}/projection/kernel"))
    if a.num_classes:
        rows += [Row(("resnet/head/conv2d/kernel",), ("head/kernel",), _matrix, _convolution)]
        rows += [same(HEAD_BIAS, "head/bias")]
    return rows


def cannot_hold(a: AnyArchitecture) -> str | None:
    """Why the format has no place for an architecture; None where it has."""
    return None if a.family == "bit" else "it holds BiT ResNets only"


def _group_norm(name: str, path: str) -> list[Row]:
    leaves = {"gamma": "gamma", "beta": "beta"}
    return [google.vector(f"{name}/group_norm/{leaf}", f"{path}/{ours}", axes=1) for leaf, ours in leaves.items()]


def _matrix(kernel: np.ndarray) -> Arrays:
    """A head (1, 1, I, O), or (I, O) as big_vision has it, as a matrix."""
    if kernel.shape[:-2] not in ((), (1, 1)):
        raise UserError(f"expected a convolution of one pixel, but it has shape {kernel.shape}")
    return (kernel.reshape(kernel.shape[-2:]),)


def _convolution(matrix: np.ndarray) -> Arrays:
    return (matrix[None, None],)


# Patterns in big_vision's names -> what the published files have there, all applied in this order.
BIG_VISION = {
    r"^root_block/conv_root/": "resnet/root_block/standardized_conv2d/",
    r"^norm-pre-head/": "resnet/group_norm/",
    r"^head/": "resnet/head/conv2d/",
    r"^block(?=\d+/unit)": "resnet/block",
    r"(unit\d+)/conv1/": r"\1/a/standardized_conv2d/",
    r"(unit\d+)/conv2/": r"\1/b/standardized_conv2d/",
    r"(unit\d+)/conv3/": r"\1/c/standardized_conv2d/",
    r"(unit\d+)/conv_proj/": r"\1/a/proj/standardized_conv2d/",
    r"(unit\d+)/gn1/": r"\1/a/group_norm/",
    r"(unit\d+)/gn2/": r"\1/b/group_norm/",
    r"(unit\d+)/gn3/": r"\1/c/group_norm/",
    r"/group_norm/scale$": "/group_norm/gamma",
    r"/group_norm/bias$": "/group_norm/beta",
}
