"""Weights of one architecture made those of another: resolution, patch size, head, pooling.

Pure functions on arrays.
"""

import functools
from collections.abc import Callable

import numpy as np

from keras_vit.errors import UserError
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
    found: dict[str, Change] = _positions(source, target)
    if source.patch_size != target.patch_size:
        found["patch_encoder/projection/kernel"] = functools.partial(_flat_patch_kernel, source, target)
    features = source.representation or source.width, target.representation or target.width
    if source.representation != target.representation:
        found |= dict.fromkeys(("pre_logits/kernel", "pre_logits/bias"))
    if source.num_classes != target.num_classes or features[0] != features[1]:
        found |= dict.fromkeys(("head/kernel", "head/bias", "head_distillation/kernel", "head_distillation/bias"))
    return found


def _positions(source: Architecture, target: Architecture) -> dict[str, Change]:
    if source.grid == target.grid and _prefix(source) == _prefix(target):
        return {}
    site = {"stem": ["patch_encoder/position"], "shared": ["position"], "blocks": []}[source.position_site]
    layers = site or [f"position_{i}" for i in range(source.depth)]
    if source.position == "learned_1d":
        return {f"{layer}/table": functools.partial(_table, source, target) for layer in layers}
    if source.position == "learned_2d":
        axes = {"rows": 0, "columns": 1}
        found: dict[str, Change] = {
            f"{layer}/{name}": functools.partial(_resample_axis, new=target.grid[axis])
            for layer in layers
            for name, axis in axes.items()
        }
        both = _prefix(source) and _prefix(target) and _prefix(source) != _prefix(target)
        of_prefix = functools.partial(_prefix_rows, source, target)
        return found | ({f"{layer}/class_position": of_prefix for layer in layers} if both else {})
    if source.position == "relative":
        return {f"block_{i}/attention/position/table": None for i in range(source.depth)}
    return {}


def _table(source: Architecture, target: Architecture, table_1TD: np.ndarray) -> np.ndarray:
    """The paper's table for another grid, and for the tokens before the patches that the target has."""
    width, first = table_1TD.shape[-1], source.prefix_tokens
    grid_hwD = table_1TD[0, first:].reshape(*source.grid, width)
    if source.grid != target.grid:
        grid_hwD = resample_grid(grid_hwD, target.grid)
    return np.concatenate([_prefix_rows(source, target, table_1TD[0, :first]), grid_hwD.reshape(-1, width)])[None]


def _prefix_rows(source: Architecture, target: Architecture, rows_ND: np.ndarray) -> np.ndarray:
    """Entries of the tokens before the patches: those that the source has as well, zeros for others."""
    held = dict(zip(_prefix(source), rows_ND, strict=True))
    zeros = np.zeros(rows_ND.shape[-1], "float32")
    return np.reshape([held.get(name, zeros) for name in _prefix(target)], (-1, rows_ND.shape[-1])).astype("float32")


def _prefix(a: Architecture) -> list[str]:
    """The tokens before the patches, in their order."""
    return [name for name in ("class_token", "distillation_token") if getattr(a, name)]


def _resample_axis(table_ND: np.ndarray, new: int) -> np.ndarray:
    return (aligned_linear(len(table_ND), new) @ table_ND).astype("float32")


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

METHODS = {"official": aligned_linear, "bicubic": half_pixel_cubic}
