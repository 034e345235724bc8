"""big_vision's `.npz` files: the paper's names, but for positions.

Those have no entry for the class token, which is prepended after they are added. That equals the paper's order with a
zero position for it; writing adds ours to the class token.
"""

from typing import Any

import numpy as np

from keras_vit.variants import Architecture
from keras_vit.weights import google
from keras_vit.weights.rows import Row, same
from keras_vit.weights.stored import Stored

POSITION = "pos_embedding"


def recognises(stored: Stored) -> bool:
    """True where positions stand at the top level, or are fixed and so absent."""
    return google.PATCH_KERNEL in stored.shapes


def named(stored: Stored) -> Stored:
    """The arrays under the names of the table, blocks that were stacked for a scan one by one."""
    return _unstacked(google.named(stored.renamed({_in_its_place(name): name for name in stored.shapes})))


def architecture(stored: Stored) -> dict[str, Any]:
    """As `google.architecture`; without a table, positions are big_vision's fixed ones."""
    return google.architecture(stored) | {"position": "learned_1d" if POSITION in stored.shapes else "sincos2d"}


def positions(stored: Stored) -> int | None:
    """Patches behind the table of positions; None without one."""
    return stored.shapes[POSITION][1] if POSITION in stored.shapes else None


def preprocessing(stored: Stored) -> dict[str, Any]:
    """As `google.preprocessing`."""
    return google.preprocessing(stored)


def class_names(stored: Stored) -> list[str] | None:
    """The file names no classes."""
    return None


def table(a: Architecture) -> list[Row]:
    """The rows of the name table that an architecture has."""
    rows = [*google.stem(a), *google.encoder(a)]
    token, position = "patch_encoder/class_token", "patch_encoder/position/table"
    if a.position == "learned_1d" and a.class_token:
        rows.append(Row(("cls", POSITION), (token, position), _with_zero, _merged))
    elif a.position == "learned_1d":
        rows.append(same(POSITION, position))
    elif a.class_token:
        rows.append(same("cls", token))
    return rows


def cannot_hold(a: Architecture) -> str | None:
    """Why the format has no place for an architecture; None where it has."""
    if a.position not in ("learned_1d", "sincos2d") or a.position_site != "stem":
        return f"it has learned_1d and sincos2d positions at the stem only, not {a.position!r} at {a.position_site!r}"
    if a.distillation_token:
        return "it has no second token and head (distillation_token)"
    if a.class_token != (a.pool == "token"):
        return f"it has no pool={a.pool!r} with class_token={a.class_token}"
    return google.plain_encoder(a)


def _in_its_place(name: str) -> str:
    """The name in newer files: older ones have attention pooling and positions elsewhere."""
    if name.startswith(("probe", "MlpBlock_0/", "MultiHeadDotProductAttention_0/", "LayerNorm_0/")):
        return f"MAPHead_0/{name}"
    return POSITION if name == f"Transformer/{POSITION}" else name


def _with_zero(class_token, position_1ND):
    return class_token, np.concatenate([np.zeros_like(position_1ND[:, :1]), position_1ND], axis=1)


def _merged(class_token, position_1TD):
    of_class = position_1TD[:, :1]
    return class_token + of_class if of_class.any() else class_token, position_1TD[:, 1:]


def _unstacked(stored: Stored) -> Stored:
    """Blocks stored as `encoderblock/...`, with a leading axis over depth, under the names of single ones."""
    stacked = {name: shape for name, shape in stored.shapes.items() if STACKED in name}
    if not stacked:
        return stored
    shapes = {name: shape for name, shape in stored.shapes.items() if name not in stacked}
    places = {}
    for name, shape in stacked.items():
        for i in range(shape[0]):
            single = name.replace(STACKED, f"Transformer/encoderblock_{i}/")
            shapes[single], places[single] = shape[1:], (name, i)
    held: dict[str, np.ndarray] = {}

    def read(name):
        if name not in places:
            return stored.read(name)
        whole, i = places[name]
        if whole not in held:
            held.clear()  # one of them at a time
            held[whole] = stored.read(whole)
        return held[whole][i]

    origins = {name: stored.origin(whole) for name, (whole, _) in places.items()}
    return Stored(stored.path, shapes, read, stored.config, {**stored.origins, **origins})


STACKED = "Transformer/encoderblock/"
