"""The paper's checkpoints and AugReg's, hybrids among them: flat `.npz` archives of arrays named by module paths.

Files come in two numberings of the modules inside a block: one counter for all (LayerNorm_0, MultiHeadDotProduct-
Attention_1, LayerNorm_2, MlpBlock_3), or one per kind, as newer Flax has it. The table below uses the second, and so
does big_vision; `save` writes the first, as the published files have it.
"""

import math
import re
from typing import Any

import numpy as np

from keras_vit.errors import UserError
from keras_vit.variants import Architecture
from keras_vit.weights.rows import Arrays, Row, patch_kernel, same
from keras_vit.weights.stored import Stored

PATCH_KERNEL = "embedding/kernel"
POSITION = "Transformer/posembed_input/pos_embedding"
ROOT_KERNEL = "conv_root/kernel"


def recognises(stored: Stored) -> bool:
    """True where positions stand under the Transformer, or modules are numbered by one counter for all."""
    one_counter = any("/MultiHeadDotProductAttention_1/" in name for name in stored.shapes)
    return PATCH_KERNEL in stored.shapes and (POSITION in stored.shapes or one_counter)


def named(stored: Stored) -> Stored:
    """The arrays under the names of the table."""
    return stored.renamed(linen_names(stored.shapes))


def architecture(stored: Stored) -> dict[str, Any]:
    """Architecture fields that the arrays tell, but for the image size.

    Raises:
        KeyError, ValueError, IndexError: if arrays that every Vision Transformer has are missing or misshapen.
    """
    shapes = stored.shapes
    side, _, channels, width = shapes[PATCH_KERNEL]
    resnet = resnet_fields(shapes, ROOT_KERNEL)
    blocks = {int(match[1]) for name in shapes if (match := re.search(r"encoderblock_(\d+)/", name))}
    if not blocks:
        raise UserError("no arrays named Transformer/encoderblock_N.")
    block = "Transformer/encoderblock_0"
    return {
        "patch_size": side,
        "channels": channels,
        **(_hybrid(side, resnet) if resnet else {}),
        "width": width,
        "depth": 1 + max(blocks),
        "heads": shapes[f"{block}/MultiHeadDotProductAttention_0/query/kernel"][1],
        "mlp_width": shapes[f"{block}/MlpBlock_0/Dense_0/kernel"][1],
        "class_token": "cls" in shapes,
        "pool": "map" if "MAPHead_0/probe" in shapes else "token" if "cls" in shapes else "gap",
        "representation": shapes["pre_logits/bias"][0] if "pre_logits/bias" in shapes else None,
        "num_classes": shapes["head/bias"][0] if "head/bias" in shapes else 0,
        "position": "learned_1d",
    }


def resnet_fields(shapes: dict[str, tuple[int, ...]], root: str) -> dict[str, Any]:
    """Channels, units of each stage and root width of the ResNet whose root convolution goes by this name, if any.

    Raises:
        UserError: if a stage or unit is missing.
    """
    if root not in shapes:
        return {}
    units = {(int(match[1]), int(match[2])) for name in shapes if (match := _UNIT.search(name))}
    stages = [sum(stage == number for stage, _ in units) for number in range(1, 1 + len({stage for stage, _ in units}))]
    if units != {(number, unit) for number, count in enumerate(stages, 1) for unit in range(1, count + 1)}:
        raise UserError("the arrays named blockN/unitM do not count from 1 without gaps.")
    return {"channels": shapes[root][2], "units": tuple(stages), "root_width": shapes[root][3]}


def _hybrid(side: int, resnet: dict[str, Any]) -> dict[str, Any]:
    """Fields of a hybrid whose patches have so many positions of the feature map on a side."""
    stem = resnet["units"]
    stride = 4 * 2 ** max(len(stem) - 1, 0)
    return {
        "patch_size": side * stride,
        "channels": resnet["channels"],
        "stem": stem,
        "root_width": resnet["root_width"],
    }


def positions(stored: Stored) -> int | None:
    """Patches behind the table of positions; None without one."""
    return stored.shapes[POSITION][1] - ("cls" in stored.shapes) if POSITION in stored.shapes else None


def preprocessing(stored: Stored) -> dict[str, Any]:
    """Fields of `Preprocessing`: its defaults, which are the paper's."""
    return {}


def class_names(stored: Stored) -> list[str] | None:
    """The file names no classes."""
    return None


def table(a: Architecture) -> list[Row]:
    """The rows of the name table that an architecture has."""
    rows = [*stem(a), *encoder(a)]
    if a.class_token:
        rows.append(same("cls", "patch_encoder/class_token"))
    if a.position == "learned_1d":
        rows.append(same(POSITION, "patch_encoder/position/table"))
    return rows


def stem(a: Architecture) -> list[Row]:
    """A hybrid's ResNet, and patch projection."""
    return [
        *(_resnet(a) if a.stem is not None else ()),
        patch_kernel(PATCH_KERNEL, "patch_encoder/projection/kernel", a.map_patch_size, a.map_channels, a.width),
        same("embedding/bias", "patch_encoder/projection/bias"),
    ]


def _resnet(a: Architecture) -> list[Row]:
    rows = [same(ROOT_KERNEL, "root/conv/kernel"), *_group_norm("gn_root", "root/norm")]
    for stage, count in enumerate(a.stem or ()):
        for unit in range(count):
            name, path = f"block{stage + 1}/unit{unit + 1}", f"stage_{stage}_unit_{unit}"
            for i in range(3):
                rows.append(same(f"{name}/conv{i + 1}/kernel", f"{path}/conv_{i}/kernel"))
                rows += _group_norm(f"{name}/gn{i + 1}", f"{path}/norm_{i}")
            if not unit:
                rows.append(same(f"{name}/conv_proj/kernel", f"{path}/projection/kernel"))
                rows += _group_norm(f"{name}/gn_proj", f"{path}/projection_norm")
    return rows


def _group_norm(name: str, path: str) -> list[Row]:
    return [vector(f"{name}/scale", f"{path}/gamma", axes=4), vector(f"{name}/bias", f"{path}/beta", axes=4)]


def vector(name: str, path: str, axes: int) -> Row:
    """A vector (C,), stored with axes of length 1 before it; read with any number of them."""

    def flat(array: np.ndarray) -> Arrays:
        if array.size != array.shape[-1]:
            raise UserError(f"expected a vector, but it has shape {array.shape}")
        return (array.reshape(-1),)

    return Row((name,), (path,), flat, lambda array: (array.reshape((1,) * (axes - 1) + (-1,)),))


def encoder(a: Architecture) -> list[Row]:
    """Everything after the first tokens."""
    rows = []
    for i in range(a.depth):
        rows += _block(f"Transformer/encoderblock_{i}", f"block_{i}")
    rows += _norm("Transformer/encoder_norm", "norm")
    if a.pool == "map":
        rows.append(same("MAPHead_0/probe", "pool/probe"))
        rows += _attention("MAPHead_0/MultiHeadDotProductAttention_0", "pool/attention")
        rows += _norm("MAPHead_0/LayerNorm_0", "pool/norm")
        rows += _mlp("MAPHead_0/MlpBlock_0", "pool/mlp")
    if a.representation:
        rows += _pair("pre_logits", "pre_logits")
    if a.num_classes:
        rows += _pair("head", "head")
    return rows


def cannot_hold(a: Architecture) -> str | None:
    """Why the format has no place for an architecture; None where it has."""
    if a.position != "learned_1d" or a.position_site != "stem":
        return f"it has learned positions at the stem only, not position={a.position!r} at {a.position_site!r}"
    if a.distillation_token:
        return "it has no second token and head (distillation_token)"
    if a.pool == "map" or a.class_token != (a.pool == "token"):
        return f"it has no pool={a.pool!r} with class_token={a.class_token}"
    return plain_encoder(a)


def plain_encoder(a: Architecture) -> str | None:
    """Why the encoder is not the paper's; None where it is."""
    if not a.attention_bias:
        return "its attention always has biases"
    return "its last norm comes before pooling" if a.norm_site != "tokens" else None


def published_name(name: str) -> str:
    """The name with each block's modules numbered by one counter, as the published files have it."""
    match = _MODULE.match(name)
    return f"{match[1]}_{_ONE_COUNTER[match[2], int(match[3])]}{match[4]}" if match else name


def of_model(stored: Stored) -> Stored:
    """The model's arrays alone where the file holds a training state, whose other arrays are the optimizer's."""
    for prefix in PREFIXES:
        inside = [name for name in stored.shapes if name.startswith(prefix)]
        if inside:
            return stored.renamed({name.removeprefix(prefix): name for name in inside})
    return stored


def linen_names(names: Any) -> dict[str, str]:
    """Name with each block's modules numbered by kind -> name in the file."""
    numbers: dict[str, set[int]] = {}
    for name in names:
        if match := _MODULE.match(name):
            numbers.setdefault(match[1], set()).add(int(match[3]))
    names_in_file = {}
    for name in names:
        match = _MODULE.match(name)
        linen_name = f"{match[1]}_{sorted(numbers[match[1]]).index(int(match[3]))}{match[4]}" if match else name
        names_in_file[linen_name] = name
    return names_in_file


def square(patches: int) -> int:
    """Side of the square grid of so many patches.

    Raises:
        UserError: if they form none.
    """
    side = math.isqrt(max(patches, 0))
    if side == 0 or side * side != patches:
        raise UserError(f"{patches} positions do not form a square grid; pass image_size=(height, width).")
    return side


def _block(name: str, path: str) -> list[Row]:
    return [
        *_norm(f"{name}/LayerNorm_0", f"{path}/norm_0"),
        *_attention(f"{name}/MultiHeadDotProductAttention_0", f"{path}/attention"),
        *_norm(f"{name}/LayerNorm_1", f"{path}/norm_1"),
        *_mlp(f"{name}/MlpBlock_0", f"{path}/mlp"),
    ]


def _pair(name: str, path: str) -> list[Row]:
    return [same(f"{name}/{leaf}", f"{path}/{leaf}") for leaf in ("kernel", "bias")]


def _norm(name: str, path: str) -> list[Row]:
    return [same(f"{name}/scale", f"{path}/gamma"), same(f"{name}/bias", f"{path}/beta")]


def _attention(name: str, path: str) -> list[Row]:
    parts = ("query", "key", "value", "out")
    return [row for part in parts for row in _pair(f"{name}/{part}", f"{path}/{part}")]


def _mlp(name: str, path: str) -> list[Row]:
    return [row for i in (0, 1) for row in _pair(f"{name}/Dense_{i}", f"{path}/dense_{i}")]


# What training states put before the names of the model's own arrays.
PREFIXES = ("opt/target/", "params/", "target/")

_UNIT = re.compile(r"\bblock(\d+)/unit(\d+)/")

_MODULE = re.compile(r"(.*encoderblock_\d+/(\w+))_(\d+)(/.*)")

_ONE_COUNTER = {("LayerNorm", 0): 0, ("MultiHeadDotProductAttention", 0): 1, ("LayerNorm", 1): 2, ("MlpBlock", 0): 3}
