"""The paper's checkpoints: flat `.npz` archives of arrays named by `/`-joined module paths (facts: ViT-B_16.npz).

Files come in two numberings of the modules inside a block: one counter for all (LayerNorm_0, MultiHeadDotProduct-
Attention_1, LayerNorm_2, MlpBlock_3), or one per kind. The table below uses the second; `canonical` renumbers.
"""

import math
import re

import numpy as np

from keras_vit.variants import Architecture

POSITION = "Transformer/posembed_input/pos_embedding"


def recognises(arrays: dict[str, np.ndarray]) -> bool:
    """True for the paper's own files: positions, where there are any, stand under the Transformer."""
    return "embedding/kernel" in arrays and "pos_embedding" not in arrays and POSITION in arrays


def canonical(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same arrays with the modules of each block numbered by kind."""
    modules = sorted({match[0] for name in arrays if (match := re.match(r".*encoderblock_\d+/(\w+)_(\d+)(?=/)", name))})
    numbers: dict[str, list[int]] = {}
    for module in modules:
        kind, number = module.rsplit("_", 1)
        numbers.setdefault(kind, []).append(int(number))
    renamed = {}
    for name, array in arrays.items():
        match = re.match(r"(.*encoderblock_\d+/\w+)_(\d+)(/.*)", name)
        if match:
            name = f"{match[1]}_{sorted(numbers[match[1]]).index(int(match[2]))}{match[3]}"
        renamed[name] = array
    return renamed


def architecture(arrays: dict[str, np.ndarray]) -> dict:
    """Architecture fields that the arrays tell. The image is taken to be square.

    Raises:
        KeyError, ValueError: if arrays that every Vision Transformer has are missing or misshapen.
    """
    side, _, channels, width = arrays["embedding/kernel"].shape
    depth = 1 + max(int(match[1]) for name in arrays if (match := re.search(r"encoderblock_(\d+)/", name)))
    block = "Transformer/encoderblock_0"
    fields = {
        "patch_size": side,
        "channels": channels,
        "width": width,
        "depth": depth,
        "heads": arrays[f"{block}/MultiHeadDotProductAttention_0/query/kernel"].shape[1],
        "mlp_width": arrays[f"{block}/MlpBlock_0/Dense_0/kernel"].shape[1],
        "class_token": "cls" in arrays,
        "pool": "map" if "MAPHead_0/probe" in arrays else "token" if "cls" in arrays else "gap",
        "representation": arrays["pre_logits/bias"].size if "pre_logits/bias" in arrays else None,
        "num_classes": arrays["head/bias"].size if "head/bias" in arrays else 0,
        "position": "learned_1d" if POSITION in arrays else "sincos2d",
    }
    if POSITION in arrays:
        fields["image_size"] = math.isqrt(arrays[POSITION].shape[1] - ("cls" in arrays)) * side
    return fields


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
