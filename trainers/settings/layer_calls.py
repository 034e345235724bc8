"""What `--augment_layers` says: calls of layer classes by their import names, read without running anything."""

import ast
import dataclasses
from typing import Any

from keras_vit.errors import UserError

EXAMPLE = "keras.layers.RandomGrayscale(0.2);keras.layers.RandomInvert(factor=0.1)"
# Layers of Keras and KerasCV that mix the images of a batch, and the flags for what they do.
MIXING = {"MixUp": "--mixup", "CutMix": "--cutmix"}


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """A class to be imported and called.

    Two are equal, and hash alike, if their `text` is the same.

    Args:
        text: The call, written in one way whatever spaces and quotes the user put.
        module: Import name of the class's module.
        name: The class in it.
        arguments: Positional arguments.
        keywords: Arguments by name.
    """

    text: str
    module: str = dataclasses.field(compare=False)
    name: str = dataclasses.field(compare=False)
    arguments: tuple[Any, ...] = dataclasses.field(compare=False)
    keywords: dict[str, Any] = dataclasses.field(compare=False)


def parse(text: str) -> tuple[LayerCall, ...]:
    """The calls in a text such as `keras.layers.RandomGrayscale(0.2);keras_cv.layers.GridMask(ratio_factor=(0, 0.5))`.

    Arguments are Python literals. Nothing is evaluated or imported, so that it does not matter who wrote the text.

    Raises:
        UserError: for anything else, and for layers that mix the images of a batch.
    """
    if len(text.splitlines()) > 1:
        raise UserError("--augment_layers must be on one line, its layers joined by ';'.")
    try:
        return tuple(_call(statement) for statement in ast.parse(text.strip()).body)
    except UserError:
        raise
    # Python's parser has different errors for what is no Python, for bytes that are no text, and for nesting too deep.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(text) from error


def _call(statement: ast.stmt) -> LayerCall:
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call):
        raise _unreadable(ast.unparse(statement))
    text = ast.unparse(call)
    module, _, name = _dotted(call.func).rpartition(".")
    if not module:
        raise _unreadable(text)
    if name in MIXING and module.startswith("keras"):
        raise UserError(f"--augment_layers={text} mixes the images of a batch, but layers see one; use {MIXING[name]}.")
    keywords = {keyword.arg: _literal(keyword.value, text) for keyword in call.keywords if keyword.arg}
    if len(keywords) < len(call.keywords):
        raise UserError(f"--augment_layers={text} must give each argument once, and without **.")
    return LayerCall(text, module, name, tuple(_literal(argument, text) for argument in call.args), keywords)


def _dotted(node: ast.expr) -> str:
    """The dotted name that a node is; empty if it is anything else."""
    if isinstance(node, ast.Name):
        return node.id
    owner = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{owner}.{node.attr}" if owner and isinstance(node, ast.Attribute) else ""


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    # TypeError: a dict whose key is a list.
    except (ValueError, TypeError) as error:
        raise UserError(
            f"--augment_layers={text}: arguments must be literals such as 0.2, (0, 1) or 'reflect'; "
            f"got {ast.unparse(node)}."
        ) from error


def _unreadable(text: str) -> UserError:
    return UserError(f"--augment_layers must be layers by import name, such as {EXAMPLE}; got {text!r}.")
