"""What every command does around its `run`: help, settings, exit codes."""

import dataclasses
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from typing import TypeVar

from keras_vit.errors import UserError
from trainers.settings import flags
from trainers.settings.fields import Group, flag_fields

S = TypeVar("S", bound=Group)
R = TypeVar("R")

DONE, FAILED, BAD_INPUT, WORKER_LOST, PREEMPTED = 0, 1, 2, 4, 75


def main(
    settings_class: type[S],
    run: Callable[[S], R],
    name: str,
    arguments: Sequence[str] | None = None,
    *,
    code: Callable[[R], int] = lambda result: DONE,
) -> int:
    """Runs a command from its command line and returns the exit code.

    Heavy imports belong inside `run`: help and wrong flags are answered before TensorFlow has loaded.

    Args:
        settings_class: The command's dataclass.
        run: The command; takes the settings.
        name: The command's name, for the help text.
        arguments: Instead of `sys.argv[1:]`.
        code: Function from what `run` returned to the exit code.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if any(argument.startswith(("--help", "-help")) or argument == "-h" for argument in arguments):
        print(help_text(settings_class, name, sys.modules[settings_class.__module__].__doc__ or ""))
        return DONE
    try:
        settings = flags.read(arguments, settings_class)
        load_tensorflow()
        return code(run(settings))
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_INPUT
    except Exception as error:
        # Ways for a run to end carry their own code: see NotFinite, WorkerLost and Preempted of trainers/engine.
        if not hasattr(error, "exit_code"):
            raise
        print(f"{'preempted' if error.exit_code == PREEMPTED else 'error'}: {error}", file=sys.stderr, flush=True)
        if error.exit_code == WORKER_LOST:
            sys.stdout.flush()
            os._exit(WORKER_LOST)  # an orderly end would wait for the lost worker
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return FAILED


def load_tensorflow() -> None:
    """Imports TensorFlow and Keras without the start-up notices that would bury a command's own first lines.

    Raises:
        UserError: if another backend is asked for.
        MissingPackage: naming the extra to install, if TensorFlow is missing.
    """
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UserError(f"Commands run on TensorFlow, but KERAS_BACKEND is {backend!r}; unset it.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notices:
        os.dup2(notices.fileno(), 2)
        try:
            from keras_vit.installation import advice

            try:
                import tensorflow  # noqa: F401
            except ModuleNotFoundError as error:
                raise advice(error) from None
        except ModuleNotFoundError:
            raise
        except BaseException:
            notices.seek(0)
            os.write(stderr, notices.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def help_text(settings_class: type[Group], name: str, about: str) -> str:
    """Usage, the command's description, then every flag under the heading of the group it belongs to."""
    width = min(shutil.get_terminal_size((110, 20)).columns, 120)
    beside = flags.positional_field(settings_class)
    recipes = " [--recipe=NAME]" if settings_class.recipes_of else ""
    usage = f"usage: python -m trainers.{name}{recipes} [--flagfile=FILE] [--flag=value ...]"
    lines = [f"{usage} {beside.metadata['positional']} ..." if beside else usage, "", about.strip()]
    if recipes:
        lines += ["", *textwrap.wrap(RECIPES_HELP, width)]
    if beside:
        lines += ["", *_listed(f"  {beside.metadata['positional']}", beside.metadata["help"], width)]
    own = {field.name: field for field in dataclasses.fields(settings_class)}  # which may have other defaults
    seen: set[str] = set()
    for group in (*settings_class.__mro__[-3:0:-1], settings_class):
        fields = [f for f in flag_fields(group) if f.name not in seen]
        if not fields:
            continue
        seen |= {field.name for field in fields}
        lines += ["", f"{(group.__doc__ or '').strip().splitlines()[0].rstrip('.')}:"]
        for field in fields:
            lines += _flag_help(own[field.name], width)
    return "\n".join(lines)


RECIPES_HELP = (
    "A recipe is what a paper published of a training; `python -m trainers` lists them. What a flag file or the "
    "command line says goes before the recipe, and what is said later before what was said earlier. A flag file has "
    "one flag on each line; other flag files that it names are looked for beside it."
)


def _flag_help(field: dataclasses.Field, width: int) -> list[str]:
    text = field.metadata["help"]
    if field.metadata["choices"]:
        text += f" One of: {', '.join(field.metadata['choices'])}."
    if field.default not in (None, ""):
        text += f" Default: {field.default}."
    return _listed(f"  --{'[no]' if isinstance(field.default, bool) else ''}{field.name}", text, width)


def _listed(head: str, text: str, width: int) -> list[str]:
    body = textwrap.wrap(text, width - 26)
    if len(head) > 24:
        return [head, *(" " * 26 + line for line in body)]
    return [f"{head:<26}{body[0]}", *(" " * 26 + line for line in body[1:])]
