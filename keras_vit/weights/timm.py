"""timm's Vision Transformers: `.safetensors`, PyTorch's layouts, queries, keys and values in one array.

Mean pooling comes in two forms: with `norm` before it, or with `fc_norm` after it. DeiT's distilled models have a
second token and head.
"""

import re
from typing import Any

from keras_vit.variants import SIZES, Architecture
from keras_vit.weights.rows import Row, heads_fused, heads_out, linear, norm, patch_kernel_channels_first, same
from keras_vit.weights.stored import Stored

PATCHES = "patch_embed.proj"
DISTILLATION = "dist_token"


def recognises(stored: Stored) -> bool:
    """True where the patch projection has timm's name."""
    return f"{PATCHES}.weight" in stored.shapes and "blocks.0.attn.qkv.weight" in stored.shapes


def named(stored: Stored) -> Stored:
    """The arrays under the names of the table: their own."""
    return stored


def architecture(stored: Stored) -> dict[str, Any]:
    """Architecture fields that the arrays tell; the number of heads only where the size is a known one.

    Raises:
        KeyError, IndexError: if arrays that every Vision Transformer has are missing or misshapen.
    """
    shapes = stored.shapes
    width, channels, side, _ = shapes[f"{PATCHES}.weight"]
    blocks = {int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))}
    after = "fc_norm.weight" in shapes
    pool = stored.config.get("global_pool") or ("gap" if after or "cls_token" not in shapes else "token")
    fields = {
        "patch_size": side,
        "channels": channels,
        "width": width,
        "depth": 1 + max(blocks),
        "mlp_width": shapes["blocks.0.mlp.fc1.bias"][0],
        "class_token": "cls_token" in shapes,
        "distillation_token": DISTILLATION in shapes,
        "pool": {"avg": "gap"}.get(pool, pool),
        "norm_site": "pooled" if after else "tokens",
        "num_classes": shapes["head.bias"][0] if "head.bias" in shapes else 0,
        "position": "learned_1d",
        "gelu": "erf",
        "attention_bias": "blocks.0.attn.qkv.bias" in shapes,
    }
    heads = {row.heads for row in SIZES.values() if row.width == width}
    return fields | ({"heads": heads.pop()} if heads else {})


def positions(stored: Stored) -> int | None:
    """Patches behind the table of positions."""
    return stored.shapes["pos_embed"][1] - ("cls_token" in stored.shapes) - (DISTILLATION in stored.shapes)


def preprocessing(stored: Stored) -> dict[str, Any]:
    """Fields of `Preprocessing`, the size left out; timm resizes by PIL, which widens the kernel."""
    config = stored.config.get("pretrained_cfg", {})
    crop = config.get("crop_pct", 0.9)
    return {
        "resize": config.get("interpolation", "bicubic"),
        "antialias": True,
        "crop": None if config.get("crop_mode") == "squash" else crop,
        "mean": tuple(config.get("mean", (0.5, 0.5, 0.5))),
        "std": tuple(config.get("std", (0.5, 0.5, 0.5))),
    }


def class_names(stored: Stored) -> list[str] | None:
    """The file names no classes."""
    return None


def table(a: Architecture) -> list[Row]:
    """The rows of the name table that an architecture has."""
    rows = [
        same("pos_embed", "patch_encoder/position/table"),
        patch_kernel_channels_first(
            f"{PATCHES}.weight", "patch_encoder/projection/kernel", a.patch_size, a.channels, a.width
        ),
        same(f"{PATCHES}.bias", "patch_encoder/projection/bias"),
    ]
    if a.class_token:
        rows.append(same("cls_token", "patch_encoder/class_token"))
    if a.distillation_token:
        rows.append(same(DISTILLATION, "patch_encoder/distillation_token"))
    for i in range(a.depth):
        name, path = f"blocks.{i}", f"block_{i}"
        rows += norm(f"{name}.norm1", f"{path}/norm_0")
        rows += heads_fused(f"{name}.attn.qkv", f"{path}/attention", a.width, a.heads)
        rows += heads_out(f"{name}.attn.proj", f"{path}/attention/out", a.width, a.heads)
        rows += norm(f"{name}.norm2", f"{path}/norm_1")
        rows += linear(f"{name}.mlp.fc1", f"{path}/mlp/dense_0")
        rows += linear(f"{name}.mlp.fc2", f"{path}/mlp/dense_1")
    rows += norm("norm" if a.norm_site == "tokens" else "fc_norm", "norm")
    rows += linear("head", "head") if a.num_classes else ()
    rows += linear("head_dist", "head_distillation") if a.num_classes and a.distillation_token else ()
    return rows


def cannot_hold(a: Architecture) -> str | None:
    """Why the format has no place for an architecture; None where it has."""
    if a.position != "learned_1d" or a.position_site != "stem":
        return f"it has learned positions at the stem only, not position={a.position!r} at {a.position_site!r}"
    if a.pool == "map":
        return "its attention pooling is another one"
    if a.representation:
        return "it has no tanh layer (representation)"
    return None if a.attention_bias else "its output projections always have biases"
