"""Published recipes as rows: `--recipe=NAME` gives a command's flags their values of a paper. Standard library only.

A value on the command line or in a flag file goes before the recipe's.
"""

import difflib

from keras_vit.errors import UserError
from trainers.settings.recipes import augreg, bit, paper
from trainers.settings.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {**paper.RECIPES, **augreg.RECIPES, **bit.RECIPES}


def recipe(names: list[str], command: str) -> Recipe:
    """The one recipe that a command line and its flag files name.

    Raises:
        UserError: if they name two, one that is unknown, or one of another command.
    """
    name, *others = dict.fromkeys(names)
    if others:
        raise UserError(f"Two recipes, --recipe={name} and --recipe={others[0]}; a run has one.")
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, 4, 0.4)
        near = f"the nearest are {', '.join(close)}; " if close else ""
        raise UserError(f"--recipe={name} is unknown; {near}`python -m trainers` lists them.")
    row = RECIPES[name]
    if command != row.command:
        raise UserError(f"--recipe={name} is one of trainers.{row.command}, not of trainers.{command}.")
    run_dir = {"run_dir": f"saved_models/{name.replace('/', '_')}"} if command == "pretrain" else {}
    return row._replace(flags=run_dir | row.flags)
