"""KerasHub's `ViTBackbone` and `ViTImageClassifier`: preset folders, and the models themselves. Read only.

The names are those of the model's variables. GELU is the exact one; a head that ends in a softmax gives logits here.
"""

import re
import warnings
from typing import Any

import numpy as np

from keras_vit.errors import UserError
from keras_vit.variants import Architecture
from keras_vit.weights.kerashub_preset import ENCODER, STEM
from keras_vit.weights.rows import Row, patch_kernel, reshaped, same
from keras_vit.weights.stored import Stored

PATCHES = f"{STEM}/patch_embedding"
TABLE = f"{STEM}/position_embedding/embeddings"


def recognises(stored: Stored) -> bool:
    """True where the patch projection has KerasHub's name."""
    return f"{PATCHES}/kernel" in stored.shapes


def named(stored: Stored) -> Stored:
    """The arrays under the names of the table. Biases that the configuration leaves out are zeros."""
    zeros = {}
    for name, shape in stored.shapes.items():
        layer = name.removesuffix("/kernel")
        field = next((field for field, pattern in BIASES.items() if re.fullmatch(pattern, layer)), None)
        if field and _backbone(stored).get(field, True) is False and f"{layer}/bias" not in stored.shapes:
            zeros[f"{layer}/bias"] = shape[-1:]
    return Stored(
        stored.path,
        stored.shapes | zeros,
        lambda name: np.zeros(zeros[name], "float32") if name in zeros else stored.read(name),
        stored.config,
        stored.origins | {name: f"{name} (zeros)" for name in zeros},
    )


def architecture(stored: Stored) -> dict[str, Any]:
    """Architecture fields that the configurations tell.

    Raises:
        KeyError: if an array that tells the number of channels is missing.
        UserError: if a configuration lacks a field, or is that of a model that this library does not have.
    """
    config, task = _backbone(stored), _task(stored)
    lacking = [name for name in NEEDED if name not in config]
    if lacking:
        raise UserError(f"its config.json has no {', '.join(lacking)}.")
    side, other, channels, _ = stored.shapes[f"{PATCHES}/kernel"]
    if side != other:
        raise UserError(f"patches of {side}x{other} pixels; only square ones can be read.")
    shape = config["image_shape"]
    # Channels may come first; nothing but the shape tells.
    size = shape[:2] if shape[2] == channels else shape[1:]
    token = config.get("use_class_token", True)
    pooling = task.get("pooling", "token" if token else "gap")
    if (pooling == "token") != token:
        raise UserError(f"pooling={pooling!r} with use_class_token={token} has no equal here: {POOLS[token]}.")
    return {
        "image_size": tuple(size),
        "patch_size": side,
        "channels": channels,
        "width": config["hidden_dim"],
        "depth": config["num_layers"],
        "heads": config["num_heads"],
        "mlp_width": config["mlp_dim"],
        "class_token": token,
        "pool": pooling,
        "gelu": "erf",
        "epsilon": config.get("layer_norm_epsilon", 1e-6),
        "dropout": config.get("dropout_rate", 0.0),
        "attention_dropout": config.get("attention_dropout", 0.0),
        "attention_bias": config.get("use_mha_bias", True),
        "representation": task.get("intermediate_dim"),
        "num_classes": task.get("num_classes", 0),
        "position": "learned_1d",
    }


def positions(stored: Stored) -> int | None:
    """Patches behind the table of positions."""
    return stored.shapes[TABLE][0] - (f"{STEM}/class_token" in stored.shapes)


def preprocessing(stored: Stored) -> dict[str, Any]:
    """Fields of `Preprocessing`, the size left out; the family's where there is no image converter."""
    converter = stored.config.get("converter") or {}
    if not converter:
        return {}
    unknown = [f"interpolation={converter['interpolation']}"] * (converter.get("interpolation") not in RESIZES)
    unknown += ["pad_to_aspect_ratio=True"] * bool(converter.get("pad_to_aspect_ratio"))
    if unknown:
        warnings.warn(
            f"{stored.path}: the image converter has {' and '.join(unknown)}, which a model's preprocessing cannot "
            "say here; it will resize the whole image, bilinearly.",
            stacklevel=2,
        )
    std, mean = _scaling(converter.get("scale"), converter.get("offset"))
    return {
        "resize": "bilinear" if unknown else converter["interpolation"],
        "antialias": bool(converter.get("antialias", False)),
        "crop": 1.0 if converter.get("crop_to_aspect_ratio", True) and not unknown else None,
        "mean": mean,
        "std": std,
    }


def class_names(stored: Stored) -> list[str] | None:
    """The preset names no classes."""
    return None


def table(a: Architecture) -> list[Row]:
    """The rows of the name table that an architecture has."""
    rows = [
        patch_kernel(f"{PATCHES}/kernel", "patch_encoder/projection/kernel", a.patch_size, a.channels, a.width),
        same(f"{PATCHES}/bias", "patch_encoder/projection/bias"),
        reshaped(TABLE, "patch_encoder/position/table", (a.tokens, a.width), (1, a.tokens, a.width)),
    ]
    if a.class_token:
        rows.append(same(f"{STEM}/class_token", "patch_encoder/class_token"))
    leaves = ("kernel", "bias") if a.attention_bias else ("kernel",)
    for i in range(a.depth):
        name, path = f"{ENCODER}/transformer_block_{i + 1}", f"block_{i}"
        rows += [*_norm(f"{name}/ln_1", f"{path}/norm_0"), *_norm(f"{name}/ln_2", f"{path}/norm_1")]
        for part, ours in ATTENTION.items():
            rows += [same(f"{name}/mha/{part}/{leaf}", f"{path}/attention/{ours}/{leaf}") for leaf in leaves]
        rows += [*_dense(f"{name}/mlp/dense_1", f"{path}/mlp/dense_0")]
        rows += [*_dense(f"{name}/mlp/dense_2", f"{path}/mlp/dense_1")]
    rows += _norm(f"{ENCODER}/ln", "norm")
    rows += _dense("pre_logits", "pre_logits") if a.representation else ()
    rows += _dense("predictions", "head") if a.num_classes else ()
    return rows


def _norm(name: str, path: str) -> list[Row]:
    return [same(f"{name}/{leaf}", f"{path}/{leaf}") for leaf in ("gamma", "beta")]


def _dense(name: str, path: str) -> list[Row]:
    return [same(f"{name}/{leaf}", f"{path}/{leaf}") for leaf in ("kernel", "bias")]


def _backbone(stored: Stored) -> dict[str, Any]:
    return stored.config.get("backbone") or {}


def _task(stored: Stored) -> dict[str, Any]:
    return stored.config.get("task") or {}


def _scaling(scale: Any, offset: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Std and mean, of pixels in [0, 1], behind `pixels * scale + offset`, of pixels up to 255."""
    scales, offsets = np.broadcast_arrays(
        np.atleast_1d(1.0 if scale is None else scale), 0.0 if offset is None else offset
    )
    std = 1 / (255 * scales)
    # Ten digits: what the way there and back leaves of 0.5.
    return tuple(np.round(std, 10).tolist()), tuple(np.round(-offsets * std, 10).tolist())


NEEDED = ("image_shape", "num_layers", "num_heads", "hidden_dim", "mlp_dim")
RESIZES = ("bilinear", "bicubic")
ATTENTION = {"query": "query", "key": "key", "value": "value", "attention_output": "out"}
POOLS = {
    True: "its mean counts the class token, ours does not",
    False: "there is no class token to read",
}

# Fields of the configuration, and the layers that have no bias where they are false.
BIASES = {"use_patch_bias": re.escape(PATCHES), "use_mlp_bias": rf"{ENCODER}/transformer_block_\d+/mlp/dense_\d"}
