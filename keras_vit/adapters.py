"""Low-rank adapters (LoRA, arXiv 2106.09685): Keras's own, on the kernels of a model's blocks."""

import math
import zlib
from typing import Any

import numpy as np
from keras import ops

from keras_vit.errors import UserError


def add(model: Any, rank: int, alpha: float | None = None, seed: int = 0) -> list[str]:
    """Gives every kernel of attention and MLP in a model's blocks a trainable low-rank difference, zero at first.

    Nothing else stays trainable but the head. The model answers as before until it is trained.

    Args:
        model: A model with layers `block_0`, ...
        rank: Rank of the differences, seen as Keras does: a kernel (D, A, K) as K columns for each pair of D and A.
        alpha: Numerator of their scale alpha / rank; the rank itself if left out.
        seed: Seed of their first factors, whose values do not depend on anything else.

    Returns:
        Paths of the kernels.

    Raises:
        UserError: if the rank is not positive, or the model has no blocks.
    """
    if rank < 1:
        raise UserError(f"The rank of adapters must be positive; got {rank}.")
    blocks = [layer for layer in model.layers if layer.name.startswith("block_")]
    layers = [layer for block in blocks for layer in block._flatten_layers() if hasattr(layer, "enable_lora")]
    if not layers:
        raise UserError("The model has no Transformer blocks whose kernels could have adapters.")
    for variable in model.trainable_variables:
        variable.trainable = variable.path.startswith(("head/", "head_distillation/"))
    for layer in layers:
        layer.enable_lora(rank, lora_alpha=alpha)
        shape = layer.lora_kernel_a.shape
        limit = math.sqrt(6 / math.prod(shape[:-1]))  # He's, as Keras has it
        random = np.random.default_rng([seed, zlib.crc32(layer.lora_kernel_a.path.encode())])
        layer.lora_kernel_a.assign(random.uniform(-limit, limit, shape))
    return [layer._kernel.path for layer in layers]


def plain_copy(model: Any, weights: dict[str, np.ndarray] | None = None) -> Any:
    """The model without optimizer and with its adapters added to the kernels: what is worth saving.

    Args:
        model: A model of `keras_vit.build`, perhaps with adapters.
        weights: Arrays by path, in the place of the model's own.
    """
    if weights is None:
        weights = {variable.path: ops.convert_to_numpy(variable.value) for variable in model.weights}
    merged = {
        layer._kernel.path: weights[layer._kernel.path]
        + layer.lora_alpha / layer.lora_rank * (weights[layer.lora_kernel_a.path] @ weights[layer.lora_kernel_b.path])
        for layer in model._flatten_layers()
        if getattr(layer, "lora_enabled", False)
    }
    copy = type(model).from_config(model.get_config())
    for variable in copy.weights:
        variable.assign(merged.get(variable.path, weights[variable.path]))
    return copy
