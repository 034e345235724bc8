"""Lists commands and recipes; behind the name `keras-vit` it also runs the commands."""

import ast
import os
import pathlib
import runpy
import sys
import textwrap

import trainers
from trainers.settings.recipes import RECIPES
from trainers.settings.recipes.augreg import PRESETS

USAGE = "usage: keras-vit COMMAND [--flag=value ...], or python -m trainers.COMMAND (--help lists a command's flags)"


def commands() -> dict[str, str]:
    """Command names with the first line of their documentation, read without importing them."""
    summaries = {}
    for path in sorted(pathlib.Path(trainers.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.ClassDef) and node.name == "Settings" for node in tree.body):
            summaries[path.stem] = (ast.get_docstring(tree) or "").split("\n")[0]
    return summaries


def overview() -> str:
    """Commands and recipes, a line or two each."""
    lines = [USAGE, "", *(f"  {name:<10}{summary}" for name, summary in commands().items())]
    for command in ("pretrain", "finetune"):
        lines += ["", f"Recipes of {command}, --recipe=NAME:"]
        for name, row in RECIPES.items():
            if row.command == command and row.expected:
                text = f"{row.about}. Published: {row.expected}."
                lines += textwrap.wrap(f"  {name:<32}{text}", 120, subsequent_indent=" " * 34, break_on_hyphens=False)
    lines += ["", f"augreg/MODEL_AUGMENTATION takes each of its models with any of {', '.join(PRESETS)}."]
    return "\n".join(lines)


def main() -> int:
    """Runs `keras-vit COMMAND ...` as `python -m trainers.COMMAND ...`; without a command, the overview.

    Returns:
        The exit code where no command was run; a command exits with its own.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        try:
            print(overview(), flush=True)
        except BrokenPipeError:  # whoever reads, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if name not in commands():
        print(f"error: there is no command {name!r}; the commands are {', '.join(commands())}.", file=sys.stderr)
        return 2
    del sys.argv[1]
    runpy.run_module(f"trainers.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
