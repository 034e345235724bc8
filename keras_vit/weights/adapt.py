"""Weights of one architecture made those of another: resolution, patch size, head, pooling.

Pure functions on arrays.
"""

import functools
import itertools
import math
from collections.abc import Callable

import numpy as np

from keras_vit import positions
from keras_vit.errors import UserError
from keras_vit.positions import Sequence
from keras_vit.variants import AnyArchitecture, Architecture, BitArchitecture

Change = Callable[[np.ndarray], np.ndarray] | None


def resample_grid(grid, size: tuple[int, int], method: str = "official") -> np.ndarray:
    """Position embeddings for another grid.

    Args:
        grid: (h, w, D), the class token's entry kept apart.
        size: New (h, w), square or not.
        method: Key of `METHODS`: `official`, linear with the corners aligned (the paper's code, section 3.2 of the
            paper), or `bicubic`, with half-pixel centres and no widening (Hugging Face).

    Returns:
        float32 (*size, D).

    Raises:
        UserError: if the method is unknown, or the grid has not three axes.
    """
    if method not in METHODS:
        raise UserError(f"Unknown method {method!r}; choose one of {', '.join(METHODS)}.")
    if np.ndim(grid) != 3:
        raise UserError(f"grid is (h, w, D); got shape {np.shape(grid)}.")
    rows, columns = (METHODS[method](old, new) for old, new in zip(np.shape(grid), size, strict=False))
    return np.einsum("ah,bw,hwd->abd", rows, columns, np.asarray(grid, "float64"), optimize=True).astype("float32")


def resize_patch_kernel(kernel, size: int) -> np.ndarray:
    """A patch projection for patches of another size, by the pseudo-inverse of resizing (FlexiViT, section 3.4).

    Patches that are resized images of old ones get the projections they had, where the new size is the larger; where it
    is smaller, the projections nearest to them over random patches.

    Args:
        kernel: (P, P, C, D).
        size: New P.

    Returns:
        float32 (size, size, C, D).

    Raises:
        UserError: if the kernel is not one of square patches.
    """
    shape = np.shape(kernel)
    if len(shape) != 4 or shape[0] != shape[1]:
        raise UserError(f"kernel is (P, P, C, D); got shape {shape}.")
    inverse = np.linalg.pinv(half_pixel_linear(shape[0], size).T)
    return np.einsum("ap,bq,pqcd->abcd", inverse, inverse, np.asarray(kernel, "float64"), optimize=True).astype(
        "float32"
    )


def aligned_linear(old: int, new: int) -> np.ndarray:
    """(new, old) matrix of linear interpolation in which first and last point stay where they are."""
    places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(old)))


def half_pixel_linear(old: int, new: int) -> np.ndarray:
    """(new, old) matrix of linear interpolation between pixel centres; beyond the outermost, those count."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(old)))


def half_pixel_cubic(old: int, new: int) -> np.ndarray:
    """(new, old) matrix of cubic convolution (a = -0.75, as PyTorch's) between pixel centres."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    for offset in range(-1, 3):
        taps = np.floor(places).astype(int) + offset
        np.add.at(matrix, (np.arange(new), np.clip(taps, 0, old - 1)), _cubic(np.abs(places - taps)))
    return matrix


def _cubic(distance, a: float = -0.75):
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def changes(source: AnyArchitecture, target: AnyArchitecture) -> dict[str, Change]:
    """What has to be done to variables, by path, so that a model of one architecture becomes one of another.

    Returns:
        For each variable that does not stay as it is: from the old array to the new, or None where nothing can be taken
        over. What the target does not have is not named, and neither is what only the target has.

    Raises:
        UserError: if they differ in more than resolution, patch size, pooling and head.
    """
    for name in FIXED[source.family]:
        if getattr(source, name) != getattr(target, name):
            raise UserError(
                f"weights with {name}={getattr(source, name)} cannot become a model with "
                f"{name}={getattr(target, name)}; what may differ is {FREE[source.family]}."
            )
    if isinstance(source, BitArchitecture) or isinstance(target, BitArchitecture):  # then both
        return {} if source.num_classes == target.num_classes else dict.fromkeys(("head/kernel", "head/bias"))
    by_path: dict[str, Change] = _positions(source, target)
    if source.patch_size != target.patch_size:
        by_path["patch_encoder/projection/kernel"] = functools.partial(_flat_patch_kernel, source, target)
    features = source.representation or source.width, target.representation or target.width
    if source.representation != target.representation:
        by_path |= dict.fromkeys(("pre_logits/kernel", "pre_logits/bias"))
    if source.num_classes != target.num_classes or features[0] != features[1]:
        by_path |= dict.fromkeys(("head/kernel", "head/bias", "head_distillation/kernel", "head_distillation/bias"))
    return by_path


def _positions(source: Architecture, target: Architecture) -> dict[str, Change]:
    """Those of the variables for positions that both have, where something else becomes of them."""
    old, new = source.sequence, target.sequence
    both = positions.variables(source).keys() & positions.variables(target).keys()
    return {
        path: functools.partial(RESAMPLED[variable.of], old, new)
        for path, variable in positions.variables(source).items()
        if path in both and (variable.shape != positions.variables(target)[path].shape or (old.prefix != new.prefix))
    }


def _tokens(old: Sequence, new: Sequence, table_1TD: np.ndarray) -> np.ndarray:
    """The paper's table for another grid, and for the tokens before the patches that the new sequence has."""
    width, first = table_1TD.shape[-1], len(old.prefix)
    grid_hwD = table_1TD[0, first:].reshape(*old.grid, width)
    if old.grid != new.grid:
        grid_hwD = resample_grid(grid_hwD, new.grid)
    return np.concatenate([_prefix(old, new, table_1TD[0, :first]), grid_hwD.reshape(-1, width)])[None]


def _prefix(old: Sequence, new: Sequence, rows_ND: np.ndarray) -> np.ndarray:
    """Entries of the tokens before the patches: those that the old sequence has as well, zeros for others."""
    held = dict(zip(old.prefix, rows_ND, strict=True))
    zeros = np.zeros(rows_ND.shape[1:], "float32")
    return np.reshape([held.get(name, zeros) for name in new.prefix], (-1, *rows_ND.shape[1:])).astype("float32")


def _rows(old: Sequence, new: Sequence, table_ND: np.ndarray) -> np.ndarray:
    return (aligned_linear(old.grid[0], new.grid[0]) @ table_ND).astype("float32")


def _columns(old: Sequence, new: Sequence, table_ND: np.ndarray) -> np.ndarray:
    return (aligned_linear(old.grid[1], new.grid[1]) @ table_ND).astype("float32")


def _offsets(old: Sequence, new: Sequence, table_EK: np.ndarray) -> np.ndarray:
    """Of each offset the entry that spans as much of the image, linear between offsets; then those of the prefix.

    The paper tells of resampling tables of positions only (section 3.2), so this is ours. An offset of raster indices
    stands for the pair of rows and columns that is nearest.
    """
    spans = 2 * old.patches - 1
    pairs_NK = table_EK[spans:].reshape(len(old.prefix), 2, table_EK.shape[1])
    of_prefix = _prefix(old, new, pairs_NK).reshape(-1, table_EK.shape[1])
    if old.grid == new.grid:
        return np.concatenate([table_EK[:spans], of_prefix])
    weights = np.zeros((2 * new.patches - 1, spans))
    for place, offset in enumerate(range(1 - new.patches, new.patches)):
        (row, column), share = _on_grid(offset, old.grid, new.grid)
        for y, x in itertools.product((0, 1), repeat=2):
            index = (row + y) * old.grid[1] + column + x + old.patches - 1
            part = (share[0] if y else 1 - share[0]) * (share[1] if x else 1 - share[1])
            weights[place, np.clip(index, 0, spans - 1)] += part
    return np.concatenate([weights @ table_EK[:spans], of_prefix]).astype("float32")


def _on_grid(offset: int, old: tuple[int, int], new: tuple[int, int]) -> tuple[tuple[int, int], tuple[float, float]]:
    """Rows and columns of the old grid that a raster offset in the new one spans, whole ones and the share beyond."""
    rows, columns = divmod(abs(offset), new[1])
    if 2 * columns > new[1] and rows + 1 < new[0]:  # nearer from the other side
        rows, columns = rows + 1, columns - new[1]
    sign = 1 if offset >= 0 else -1
    spans = [
        sign * count * (o - 1) / (n - 1) if n > 1 else 0.0
        for count, o, n in zip((rows, columns), old, new, strict=True)
    ]
    whole = [math.floor(span) for span in spans]
    return (whole[0], whole[1]), (spans[0] - whole[0], spans[1] - whole[1])


def _flat_patch_kernel(source: Architecture, target: Architecture, kernel: np.ndarray) -> np.ndarray:
    side = source.map_patch_size
    resized = resize_patch_kernel(kernel.reshape(side, side, source.map_channels, -1), target.map_patch_size)
    return resized.reshape(-1, kernel.shape[-1])


# What a model must have in common with the weights it takes over, and what it need not.
FIXED = {
    "vit": (
        *("family", "channels", "stem", "root_width", "width", "depth", "heads", "mlp_width", "attention_bias"),
        *("position", "position_site", "norm_site"),
    ),
    "bit": ("family", "channels", "units", "root_width"),
}
FREE = {"vit": "resolution, patch size, pooling and head", "bit": "resolution, padding of the root's pooling and head"}

# What becomes of a variable for positions, by what its entries are for: (old, new, array) to an array.
RESAMPLED = {"tokens": _tokens, "prefix": _prefix, "rows": _rows, "columns": _columns, "offsets": _offsets}

METHODS = {"official": aligned_linear, "bicubic": half_pixel_cubic}
