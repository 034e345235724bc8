"""The paper's checkpoints: flat `.npz` archives of arrays named by `/`-joined module paths.

Files come in two numberings of the modules inside a block: one counter for all (LayerNorm_0, MultiHeadDotProduct-
Attention_1, LayerNorm_2, MlpBlock_3), or one per kind, as newer Flax has it. The table below uses the second.
"""

import math
import re

import numpy as np

from keras_vit.variants import Architecture

PATCH_KERNEL = "embedding/kernel"
POSITION = "Transformer/posembed_input/pos_embedding"

# Arrays that `canonical` renames, under the names they come from.
ORIGIN: dict[str, str] = {}


def recognises(arrays: dict[str, np.ndarray]) -> bool:
    """True where positions stand under the Transformer, or modules are numbered by one counter for all."""
    one_counter = any("/MultiHeadDotProductAttention_1/" in name for name in arrays)
    return PATCH_KERNEL in arrays and (POSITION in arrays or one_counter)


def canonical(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """These arrays are the form that others are brought into."""
    return arrays


def linen_names(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Name with each block's modules numbered by kind -> name in the file."""
    numbers: dict[str, set[int]] = {}
    for name in arrays:
        if match := _MODULE.match(name):
            numbers.setdefault(match[1], set()).add(int(match[2]))
    origins = {}
    for name in arrays:
        match = _MODULE.match(name)
        own = f"{match[1]}_{sorted(numbers[match[1]]).index(int(match[2]))}{match[3]}" if match else name
        origins[own] = name
    return origins


def architecture(arrays: dict[str, np.ndarray]) -> dict:
    """Architecture fields that the arrays tell, but for the image size.

    Raises:
        KeyError, ValueError, IndexError: if arrays that every Vision Transformer has are missing or misshapen.
    """
    side, _, channels, width = arrays[PATCH_KERNEL].shape
    blocks = {int(match[1]) for name in arrays if (match := re.search(r"encoderblock_(\d+)/", name))}
    if not blocks:
        raise ValueError("no arrays named Transformer/encoderblock_N; files with stacked blocks are not read yet.")
    block = "Transformer/encoderblock_0"
    return {
        "patch_size": side,
        "channels": channels,
        "width": width,
        "depth": 1 + max(blocks),
        "heads": arrays[f"{block}/MultiHeadDotProductAttention_0/query/kernel"].shape[1],
        "mlp_width": arrays[f"{block}/MlpBlock_0/Dense_0/kernel"].shape[1],
        "class_token": "cls" in arrays,
        "pool": "map" if "MAPHead_0/probe" in arrays else "token" if "cls" in arrays else "gap",
        "representation": arrays["pre_logits/bias"].size if "pre_logits/bias" in arrays else None,
        "num_classes": arrays["head/bias"].size if "head/bias" in arrays else 0,
        "position": "learned_1d",
    }


def image_size(arrays: dict[str, np.ndarray]) -> dict:
    """The image size behind a learned position table, as a field; none where positions are fixed.

    Raises:
        ValueError: if the patches do not form a square.
    """
    if POSITION not in arrays:
        return {}
    patches = arrays[POSITION].shape[1] - ("cls" in arrays)
    side = math.isqrt(max(patches, 0))
    if side == 0 or side * side != patches:
        raise ValueError(f"{patches} positions do not form a square grid; pass image_size=(height, width).")
    return {"image_size": side * arrays[PATCH_KERNEL].shape[0]}


def names(a: Architecture) -> dict[str, str]:
    """The table: path of each variable of the model -> name of its array."""
    table = {
        "patch_encoder/class_token": "cls",
        "patch_encoder/position/table": POSITION,
        **_pair("patch_encoder/projection", "embedding"),
        **_norm("norm", "Transformer/encoder_norm"),
        "pool/probe": "MAPHead_0/probe",
        **_attention("pool/attention", "MAPHead_0/MultiHeadDotProductAttention_0"),
        **_norm("pool/norm", "MAPHead_0/LayerNorm_0"),
        **_mlp("pool/mlp", "MAPHead_0/MlpBlock_0"),
        **_pair("pre_logits", "pre_logits"),
        **_pair("head", "head"),
    }
    for i in range(a.depth):
        own, theirs = f"block_{i}", f"Transformer/encoderblock_{i}"
        table |= _norm(f"{own}/norm_0", f"{theirs}/LayerNorm_0")
        table |= _attention(f"{own}/attention", f"{theirs}/MultiHeadDotProductAttention_0")
        table |= _norm(f"{own}/norm_1", f"{theirs}/LayerNorm_1")
        table |= _mlp(f"{own}/mlp", f"{theirs}/MlpBlock_0")
    return table


def _pair(own: str, theirs: str) -> dict[str, str]:
    return {f"{own}/{leaf}": f"{theirs}/{leaf}" for leaf in ("kernel", "bias")}


def _norm(own: str, theirs: str) -> dict[str, str]:
    return {f"{own}/gamma": f"{theirs}/scale", f"{own}/beta": f"{theirs}/bias"}


def _attention(own: str, theirs: str) -> dict[str, str]:
    parts = ("query", "key", "value", "out")
    return {key: value for part in parts for key, value in _pair(f"{own}/{part}", f"{theirs}/{part}").items()}


def _mlp(own: str, theirs: str) -> dict[str, str]:
    return _pair(f"{own}/dense_0", f"{theirs}/Dense_0") | _pair(f"{own}/dense_1", f"{theirs}/Dense_1")


_MODULE = re.compile(r"(.*encoderblock_\d+/\w+)_(\d+)(/.*)")
