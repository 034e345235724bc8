"""Checks of the fields of an architecture: each raises a ValueError that names the field, and says what came.

Standard library only.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from keras_vit.errors import UserError


def image_size(size: Any) -> Any:
    """The size as an architecture keeps it: squares as one int, so that equal architectures compare equal."""
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2 or not all(is_int(side) and side > 0 for side in pair):
        raise UserError(f"image_size is one positive int or a pair (height, width) of them; got {size!r}.")
    return pair[0] if pair[0] == pair[1] else pair


def units(name: str, stages: Any) -> tuple[int, ...]:
    """Units of each stage of a ResNet, as a tuple."""
    if not isinstance(stages, (tuple, list)) or not all(is_int(count) and count > 0 for count in stages):
        raise UserError(f"{name} has the units of each stage, such as (3, 4, 6, 3); got {stages!r}.")
    return tuple(stages)


def check_root_width(width: Any) -> None:
    """The root's channels divide into the 32 groups of group normalisation, and with them all others."""
    if not is_int(width) or width < 1 or width % GROUPS:
        raise UserError(f"root_width must be a positive multiple of {GROUPS} channels; got {width!r}.")


def check_positive(architecture: Any, *names: str) -> None:
    for name in names:
        if not is_int(getattr(architecture, name)) or getattr(architecture, name) < 1:
            raise UserError(f"{name} must be a positive int; got {getattr(architecture, name)!r}.")


def check_rates(architecture: Any, *names: str) -> None:
    for name in names:
        if not is_number(getattr(architecture, name)) or not 0 <= getattr(architecture, name) < 1:
            raise UserError(f"{name} is a rate in [0, 1); got {getattr(architecture, name)!r}.")


def check_head(architecture: Any) -> None:
    classes, bias = architecture.num_classes, architecture.head_bias
    if not is_int(classes) or classes < 0:
        raise UserError(f"num_classes must be a positive int, or 0 for no head; got {classes!r}.")
    if not is_number(bias):
        raise UserError(f"head_bias must be a number; got {bias!r}.")


def check_choices(architecture: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    for name, allowed in choices.items():
        if getattr(architecture, name) not in allowed:
            raise UserError(f"Unknown {name} {getattr(architecture, name)!r}; choose one of {', '.join(allowed)}.")


def check_names(kind: Any, names: dict[str, Any]) -> None:
    """Raises UserError for names that are not fields of an architecture of this kind."""
    known = {field.name for field in dataclasses.fields(kind)}
    unknown = sorted(set(names) - known)
    if unknown:
        raise UserError(
            f"{kind.DESCRIPTION} has no field {', '.join(unknown)}; its fields are {', '.join(sorted(known))}."
        )


def plain(architecture: Any) -> dict[str, Any]:
    """Fields as plain JSON values, tuples as lists."""
    fields = dataclasses.asdict(architecture)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


# Of group normalisation, in hybrids as in BiT.
GROUPS = 32
