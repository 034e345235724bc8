"""Whether a run goes on where an earlier one was cut off."""

import dataclasses
from typing import TypeVar

from keras_vit.errors import UserError
from trainers import run_dir
from trainers.settings import flags
from trainers.settings.fields import Group
from trainers.settings.run import RunSettings

S = TypeVar("S", bound=RunSettings)


def resumes(settings: RunSettings, has_checkpoint: bool) -> bool:
    """Whether the unfinished run in the folder goes on.

    Args:
        settings: Settings of the command.
        has_checkpoint: Whether there is a checkpoint in the folder.

    Raises:
        UserError: if the flags differ from those it began with where that would change the result, or if
            `--resume=require` and there is nothing to resume.
    """
    before = run_dir.unfinished(settings.run_dir) if settings.resume != "never" else None
    if before is None or not has_checkpoint:
        if settings.resume == "require":
            raise UserError(f"--resume=require, but --run_dir={settings.run_dir} holds no unfinished run.")
        return False
    changed = changes(read(before, settings), settings)
    if changed:
        raise UserError(
            f"--run_dir={settings.run_dir} holds an unfinished run with other flags: {'; '.join(changed)}. Give the "
            "old ones to go on, --resume=never to begin anew, or another folder."
        )
    return True


def changes(before: Group, now: Group) -> list[str]:
    """What differs between two settings and affects the result, in words."""
    return [
        f"--{field.name} was {getattr(before, field.name)}, is {getattr(now, field.name)}"
        for field in dataclasses.fields(now)
        if field.metadata["affects_result"] and getattr(before, field.name) != getattr(now, field.name)
    ]


def read(flagfile: str, settings: S) -> S:
    """The settings of an unfinished run, whose flag file this is.

    Raises:
        UserError: if they cannot be read today.
    """
    try:
        return flags.read([line for line in flagfile.splitlines() if line], type(settings))
    except UserError as error:
        raise UserError(
            f"--run_dir={settings.run_dir} holds an unfinished run whose {run_dir.FLAGS} cannot be read today "
            f"({error}); --resume=never begins anew."
        ) from error
