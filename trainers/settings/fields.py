"""Declaring a setting: default, help and, where the library has a table of them, choices."""

import ast
import dataclasses
import functools
import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]


def setting(
    default: Any,
    help: str,
    *,
    affects_result: bool,
    choices: tuple[str, ...] | None = None,
    recorded: bool = True,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: Its value when the flag is not given; its type, or the annotation's, is the flag's type.
        help: One sentence for `--help`.
        affects_result: Whether another value makes another result, so that a run may not be resumed with it. What only
            changes rounding, such as the number of replicas, does not count.
        choices: The allowed values of a string.
        recorded: Whether the value belongs into the flag file that repeats a run.
    """
    metadata = {"help": help, "choices": choices, "recorded": recorded, "affects_result": affects_result}
    return dataclasses.field(default=default, metadata=metadata)


def positional(name: str, help: str) -> Any:
    """A dataclass field for what a command line has beside its flags: strings, any number of them.

    Args:
        name: What `--help` calls one of them, e.g. `FILE`.
        help: What they are, for `--help`.
    """
    metadata = {"help": help, "choices": None, "recorded": False, "affects_result": True, "positional": name}
    return dataclasses.field(default=(), metadata=metadata)


def with_default(group: type, name: str, default: Any) -> Any:
    """The field of a group of settings with another default, for the command that inherits the group."""
    return dataclasses.field(default=default, metadata=vars(group)["__dataclass_fields__"][name].metadata)


@functools.cache
def table_keys(file: str, table: str) -> tuple[str, ...]:
    """The keys of one of the project's tables, read from its source; for an entry, e.g. `CHOICES.pool`, its values.

    Importing the table's module would import Keras, and `--help` would take six seconds instead of one; the tables are
    dict literals, so their source tells.

    Args:
        file: Path below the project's root, e.g. `keras_vit/layers/position.py`.
        table: Name of the dict in that file.
    """
    name, _, entry = table.partition(".")
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and ast.unparse(node.targets[0]) == name:
            keys = [ast.literal_eval(key) for key in node.value.keys if key is not None]
            return ast.literal_eval(node.value.values[keys.index(entry)]) if entry else tuple(keys)
    raise LookupError(f"{file} has no dict literal {table}.")
