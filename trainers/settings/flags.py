"""The only reader and writer of flags: dataclass <-> absl flags <-> flag file."""

import dataclasses
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from absl import flags

from keras_vit.errors import UserError
from trainers.settings.fields import Group, flag_fields, kind_of
from trainers.settings.flag_file import expanded
from trainers.settings.recipes import recipe

S = TypeVar("S", bound=Group)

RECIPE = "recipe"
# Old name -> new name.
RENAMED = {"train": "trainable", "licence": "license"}
# Ways to say the same, such as how long a run is: who gives one means none of the others.
ALTERNATIVES = ({"steps", "epochs", "examples"}, {"learning_rate", "learning_rates"})


def define(settings_class: type[Group]) -> flags.FlagValues:
    """A set of absl flags, one for each field of a settings dataclass; the process's global flags stay untouched."""
    values = flags.FlagValues()
    hints = typing.get_type_hints(settings_class)
    for field in flag_fields(settings_class):
        default: Any = field.default
        text, choices = field.metadata["help"], field.metadata["choices"]
        if choices:
            flags.DEFINE_enum(field.name, default, choices, text, flag_values=values)
        else:
            _DEFINE[kind_of(hints[field.name])](field.name, default, text, flag_values=values)
    if settings_class.recipes_of:
        flags.DEFINE_multi_string(RECIPE, [], "A published recipe.", flag_values=values)
    return values


def positional_field(settings: type[Group]) -> dataclasses.Field | None:
    """The field for what a command line has beside its flags; None of a command that takes nothing else."""
    return next((field for field in dataclasses.fields(settings) if "positional" in field.metadata), None)


def read(arguments: Sequence[str], settings_class: type[S]) -> S:
    """Settings from command-line arguments (without the program's name).

    What is given later goes before what was given earlier, flag files included, and all that before a recipe.

    Raises:
        UserError: for an unknown flag, a bad value, a missing flag file, an unknown recipe, or an argument that is no
            flag and that the command does not take; and from the groups' own checks.
    """
    values = define(settings_class)
    beside = positional_field(settings_class)
    values.set_gnu_getopt(beside is not None)  # flags may also come behind what is not one
    try:
        leftover = values(["", *_renamed(expanded(arguments), values)])[1:]
    except flags.Error as error:
        raise UserError(_worded(str(error))) from error
    if leftover and beside is None:
        raise UserError(
            f"Unexpected argument {leftover[0]!r}. Flags are written --name=value; in a flag file, comments start with "
            "# in the first column."
        )
    fields = {field.name: values[field.name].value for field in flag_fields(settings_class)}
    recipes = values[RECIPE].value if settings_class.recipes_of else []
    if recipes:
        named = {name for name in fields if values[name].present}
        for alternatives in ALTERNATIVES:
            named |= alternatives if named & alternatives else set()
        of_recipe = recipe(recipes, settings_class.recipes_of).flags
        fields |= {name: value for name, value in of_recipe.items() if name not in named}
    for name, value in fields.items():
        if isinstance(value, str) and " #" in value:
            raise UserError(f"--{name}={value!r} swallowed a comment: in flag files a comment needs its own line.")
    return settings_class(**fields, **({} if beside is None else {beside.name: tuple(leftover)}))


def _renamed(arguments: Iterable[str], values: flags.FlagValues) -> Iterator[str]:
    """Arguments under the names that a command's flags have now; each old one is told of once, on stderr."""
    noted = set()
    for argument in arguments:
        name, equals, value = argument.partition("=")
        new = RENAMED.get(name.lstrip("-"), "") if name.startswith("-") else ""
        new = new if new in values else ""
        if new and new not in noted:
            noted.add(new)
            print(f"note: {name} is called --{new} now.", file=sys.stderr)
        yield f"--{new}{equals}{value}" if new else argument


def to_flagfile(settings: Group) -> str:
    """A flag file that reads back as equal settings.

    Left out are values that are None or the default, and what is not the run's but the moment's, e.g. `overwrite`.
    """
    lines = []
    for field in flag_fields(settings):
        value = getattr(settings, field.name)
        if value is None or value == field.default or not field.metadata["recorded"]:
            continue
        if isinstance(value, bool):
            lines.append(f"--{'' if value else 'no'}{field.name}")
        else:
            lines.append(f"--{field.name}={'x'.join(map(str, value)) if isinstance(value, tuple) else value}")
    return "\n".join(lines) + "\n"


class _SizeParser(flags.ArgumentParser):
    """224, or 224x160 for height x width."""

    syntactic_help = "an image size: 224, or 224x160 for height x width"

    def parse(self, argument: Any) -> int | tuple[int, ...]:
        if isinstance(argument, (int, tuple)):
            return argument
        sides = argument.split("x")
        if len(sides) > 2 or not all(side.isdecimal() for side in sides):
            raise ValueError("expected an image size such as 224, or 224x160 for height x width")
        return int(sides[0]) if len(sides) == 1 else tuple(map(int, sides))


def _define_size(name: str, default: Any, help: str, flag_values: flags.FlagValues) -> None:
    flags.DEFINE(_SizeParser(), name, default, help, flag_values)


class _BoolParser(flags.BooleanParser):
    def parse(self, argument: Any) -> bool:
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("expected true or false") from None


def _define_bool(name: str, default: Any, help: str, flag_values: flags.FlagValues) -> None:
    flag = flags.BooleanFlag(name, default, help)
    flag.parser = _BoolParser()
    flags.DEFINE_flag(flag, flag_values)


def _worded(message: str) -> str:
    """absl's message on one line."""
    return " ".join(message.split()).removeprefix("ERROR:: ")


_DEFINE: dict[type, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: _define_bool,
    tuple: _define_size,
}
