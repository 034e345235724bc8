"""Declaring settings: a field with its default, help and choices; a group of fields that checks itself."""

import dataclasses
import functools
import math
import types
import typing
from typing import Any, ClassVar

from keras_vit.errors import UserError


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    affects_result: bool = True,
    recorded: bool = True,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: Its value when the flag is not given; its type, or the annotation's, is the flag's type.
        help: One sentence for `--help`.
        choices: The allowed values of a string.
        affects_result: Whether another value makes another result, so that a run may not be resumed with it. What only
            changes rounding, such as the number of replicas, does not count.
        recorded: Whether the value belongs into the flag file that repeats a run.
    """
    metadata = {"help": help, "choices": choices, "recorded": recorded, "affects_result": affects_result}
    return dataclasses.field(default=default, metadata=metadata)


def positional(name: str, help: str) -> Any:
    """A dataclass field for what a command line has beside its flags: strings, any number of them.

    Args:
        name: Name by which `--help` calls one of them, e.g. `FILE`.
        help: Description of them, for `--help`.
    """
    metadata = {"help": help, "choices": None, "recorded": False, "affects_result": True, "positional": name}
    return dataclasses.field(default=(), metadata=metadata)


def with_default(group: type["Group"], name: str, default: Any) -> Any:
    """The field of a group of settings with another default, for the command that inherits the group."""
    return dataclasses.field(default=default, metadata=vars(group)["__dataclass_fields__"][name].metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Settings that check themselves. A command's `Settings` inherits the groups that it needs.

    A field that is text with a form of its own, such as 0.3,0.6,0.9, has a `functools.cached_property` beside it, which
    is what the text means. It is read when the settings are made, so that nobody reads the text later, and raises
    UserError for what has no meaning. `check` of each group, and of the command, sees the values of that.

    Attributes:
        recipes_of: The command whose published recipes `--recipe` takes; none if empty.
    """

    recipes_of: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_values(self)
        for group in reversed(type(self).__mro__):
            for name, member in vars(group).items():
                if isinstance(member, functools.cached_property):
                    getattr(self, name)
            if "check" in vars(group):
                vars(group)["check"](self)

    def check(self) -> None:
        """Raises UserError for values of this class's own fields that cannot be, or contradict each other."""

    def check_positive(self, *names: str) -> None:
        """Raises UserError if one of the fields is set and not above zero."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f"--{name} must be positive; got {value}.")

    def check_within(self, interval: str, *names: str) -> None:
        """Raises UserError if one of the fields is set and outside of an interval such as [0, 1) or (0, 1]."""
        least, most = map(float, interval[1:-1].split(","))
        for name in names:
            value = getattr(self, name)
            ends = {least: interval[0] == "[", most: interval[-1] == "]"}
            if value is not None and not ends.get(value, least < value < most):
                raise UserError(f"--{name} must lie in {interval}; got {value}.")


def flag_fields(settings: Group | type[Group]) -> list[dataclasses.Field]:
    """The fields of settings that are flags."""
    return [field for field in dataclasses.fields(settings) if "positional" not in field.metadata]


def check_values(settings: Group) -> None:
    """Brings the fields of settings into their one form, and checks types and choices.

    A number that may be None is None when it is 0: so a flag file's value can be cleared on the command line.

    Raises:
        UserError: for a value of another type, not finite, or not among its choices.
    """
    hints = typing.get_type_hints(type(settings))
    for field in flag_fields(settings):
        value, kind, choices = getattr(settings, field.name), kind_of(hints[field.name]), field.metadata.get("choices")
        optional = type(None) in typing.get_args(hints[field.name])
        if optional and (value is None or (value == 0 and kind in (int, float))):
            value = None
        elif kind is tuple:
            value = tuple(value) if isinstance(value, list) else value
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"--{field.name} is of type {kind.__name__}; got {value!r}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{field.name} must be a finite number; got {value}.")
        if choices and value not in choices and value is not None:
            raise UserError(f"--{field.name}={value} is unknown; choose one of {', '.join(choices)}.")
        object.__setattr__(settings, field.name, value)


def kind_of(hint: Any) -> type:
    """The one type other than None of an annotation such as `int | None`; a size counts as a tuple."""
    is_union = isinstance(hint, types.UnionType)
    parts = [part for part in typing.get_args(hint) if part is not type(None)] if is_union else [hint]
    return tuple if len(parts) > 1 else parts[0]
