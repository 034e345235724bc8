"""The model that `--model` names: a run's, a file's, or published weights."""

import os
import tempfile
from typing import Any

import keras_vit.weights
from keras_vit.errors import UserError, reason
from trainers import files, run_dir


def load(path: str, flag: str = "model", **overrides: Any) -> Any:
    """A model to measure, predict with or look into.

    Args:
        path: Folder of a run, or anything that `keras_vit.weights.load` takes: a `.keras` file, somebody's weight file
            or folder, the name of published weights.
        flag: Flag that named it.
        **overrides: Overrides as of `keras_vit.weights.load`.

    Raises:
        UserError: if nothing is there, or it holds no model of ours.
    """
    place = path
    if files.is_folder(path):
        names = run_dir.names_in(path, flag)
        if run_dir.MODEL in names:
            place = os.path.join(path, run_dir.MODEL)
        elif run_dir.FLAGS in names:
            raise UserError(f"--{flag}={path} is a run without {run_dir.MODEL}: it has not finished; resume it first.")
    try:
        return _read_remote(place, overrides) if "://" in place else keras_vit.weights.load(place, **overrides)
    except keras_vit.weights.InvalidWeights as error:
        raise UserError(f"--{flag}={path}: {str(error).removeprefix(f'{path}: ')}") from error


def _read_remote(place: str, overrides: dict[str, Any]) -> Any:
    """What a file in an object store holds, which others can only read where it is local."""
    with tempfile.TemporaryDirectory() as local:
        copy = os.path.join(local, os.path.basename(place))
        try:
            files.copy(place, copy)
        except files.ERRORS as error:
            raise keras_vit.weights.InvalidWeights(f"{place} cannot be read: {reason(error)}.") from error
        return keras_vit.weights.load(copy, **overrides)
