"""Keras's `.weights.h5` files of our own models, by `weights.save` or by the model's own `save_weights`.

What `weights.save` wrote notes the architecture. What `save_weights` wrote has the arrays alone: the form of GELU,
epsilon, rates and preprocessing are then the defaults, and patches have three channels if that makes them square, else
one.
"""

import math
import re
from typing import Any

from keras_vit.errors import InvalidWeights, UserError
from keras_vit.positions import INSIDE, PREFIX, variables
from keras_vit.variants import AnyArchitecture, BitArchitecture
from keras_vit.weights import bit, google
from keras_vit.weights.hdf5 import LAYERS
from keras_vit.weights.rows import Row, same
from keras_vit.weights.stored import Stored

PATCHES = "patch_encoder/projection"
QUERY = "block_0/attention/query"


def recognises(stored: Stored) -> bool:
    """True where the layers have our names."""
    names = _names(stored)
    return f"{PATCHES}/0" in names or ROOT in names


def named(stored: Stored) -> Stored:
    """The arrays under the names of the table: the layer's name and the number of the variable in it.

    Raises:
        InvalidWeights: if two layers have the same name.
    """
    names = _names(stored)
    if len(names) != len(stored.shapes):
        raise InvalidWeights(
            f"{stored.path}: expected every layer under a name of its own; some names are there twice."
        )
    return stored.renamed(names)


def architecture(stored: Stored) -> dict[str, Any]:
    """Architecture fields that the arrays tell; the kind of positions only where they are learned.

    Raises:
        KeyError, ValueError, IndexError: if arrays that every Vision Transformer has are missing or misshapen.
    """
    shapes = stored.shapes
    if ROOT in shapes:
        raise UserError(
            "a ResNet's arrays alone do not tell its architecture; write the file by weights.save, which does."
        )
    inputs, width = shapes[f"{PATCHES}/0"]
    channels = next((count for count in (3, 1) if inputs % count == 0 and _is_square(inputs // count)), None)
    if channels is None:
        raise UserError(
            f"patches of {inputs} values are square with neither 3 nor 1 channels; write the file by weights.save, "
            "which notes the architecture."
        )
    side = math.isqrt(inputs // channels)
    blocks = {int(match[1]) for name in shapes if (match := re.match(r"block_(\d+)/", name))}
    return {
        "patch_size": side,
        "channels": channels,
        "width": width,
        "depth": 1 + max(blocks),
        "heads": shapes[f"{QUERY}/0"][1],
        "mlp_width": shapes["block_0/mlp/dense_0/0"][1],
        "attention_bias": f"{QUERY}/1" in shapes,
        **{name: f"patch_encoder/{number}" in shapes for number, name in enumerate(PREFIX)},
        "pool": POOLS.get(_group(stored, "pool") or "", "token"),
        "representation": shapes["pre_logits/1"][0] if "pre_logits/1" in shapes else None,
        "num_classes": shapes["head/1"][0] if "head/1" in shapes else 0,
        **_position(stored, side),
    }


def positions(stored: Stored) -> int | None:
    """Patches behind the table of positions; None without one."""
    first = sum(f"patch_encoder/{number}" in stored.shapes for number in range(len(PREFIX)))
    for layer in SITES:
        if f"{layer}/0" in stored.shapes:
            return stored.shapes[f"{layer}/0"][1] - first
    if RELATIVE in stored.shapes:
        return (stored.shapes[RELATIVE][0] + 1 - 2 * first) // 2
    return None


def preprocessing(stored: Stored) -> dict[str, Any]:
    """Fields of `Preprocessing`: its defaults, since arrays tell nothing of it."""
    return {}


def class_names(stored: Stored) -> list[str] | None:
    """The file names no classes."""
    return None


def table(a: AnyArchitecture) -> list[Row]:
    """The rows of the name table that an architecture has: variables, numbered in each layer."""
    leaves: dict[str, list[str]] = {}
    for path in _variables(a):
        layer, _, leaf = path.rpartition("/")
        leaves.setdefault(layer, []).append(leaf)
    return [
        same(f"{layer}/{number}", f"{layer}/{leaf}")
        for layer, of_layer in leaves.items()
        for number, leaf in enumerate(of_layer)
    ]


def _variables(a: AnyArchitecture) -> list[str]:
    """Paths of a model's variables; in each layer as it makes them."""
    if isinstance(a, BitArchitecture):
        return [path for row in bit.table(a) for path in row.paths]
    paths = [path for row in [*google.stem(a), *google.encoder(a)] for path in row.paths]
    if not a.attention_bias:
        paths = [path for path in paths if not re.fullmatch(r"block_\d+/attention/\w+/bias", path)]
    if a.distillation_token and a.num_classes:
        paths += ["head_distillation/kernel", "head_distillation/bias"]
    return [*paths, *(f"patch_encoder/{name}" for name in a.prefix), *variables(a)]


def _position(stored: Stored, side: int) -> dict[str, Any]:
    """Kind and site of positions; the site alone where they are fixed, since no array tells which."""
    shapes = stored.shapes
    for layer, site in SITES.items():
        if f"{layer}/1" in shapes:
            size = shapes[f"{layer}/1"][0] * side, shapes[f"{layer}/0"][0] * side
            return {"position": "learned_2d", "position_site": site, "image_size": size}
        if f"{layer}/0" in shapes:
            return {"position": "learned_1d", "position_site": site}
        if _group(stored, layer):
            return {"position_site": site}
    return {"position": "relative" if RELATIVE in shapes else "none"}


def _names(stored: Stored) -> dict[str, str]:
    """Name in the table -> name in the file."""
    layers = stored.config.get(LAYERS, {})
    names = {}
    for name in stored.shapes:
        group, _, number = name.rpartition("/")
        names[f"{_path(group, layers)}/{number}"] = name
    return names


def _path(group: str, layers: dict[str, str]) -> str:
    """The names of a layer and those around it. Groups that are no layers, such as `layers`, have none."""
    parts = group.split("/")
    around = ("/".join(parts[: end + 1]) for end in range(len(parts)))
    return "/".join(layers[outer] for outer in around if outer in layers)


def _group(stored: Stored, path: str) -> str | None:
    """The last part of a layer's group: its class, in lower case, where the model itself holds the layer."""
    layers = stored.config[LAYERS]
    return next((group.rpartition("/")[2] for group in layers if _path(group, layers) == path), None)


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


ROOT = "root/conv/0"
RELATIVE = f"block_0/{INSIDE}/0"

POOLS = {"class_token_pooling": "token", "global_average_pooling": "gap", "attention_pooling": "map"}

SITES = {"patch_encoder/position": "stem", "position": "shared", "position_0": "blocks"}
