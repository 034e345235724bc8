"""Keras's own files: `.keras`, which carry everything, and the models themselves."""

import dataclasses
import json
import os
import tempfile
import zipfile
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vit.classifier import ImageClassifier, description
from keras_vit.errors import InvalidWeights, UserError, reason
from keras_vit.weights.rows import Row, same
from keras_vit.weights.stored import UNREADABLE, Stored


@dataclasses.dataclass(frozen=True)
class KerasFile:
    """A format of one file: its names are the model's own, and nothing has to be inferred."""

    stored: Stored

    def named(self, stored: Stored) -> Stored:
        """The arrays under the names of the table: their own."""
        return stored

    def table(self, a: Any) -> list[Row]:
        """A row for each array."""
        return [same(name, name) for name in self.stored.shapes]


def read_model(path: str | os.PathLike) -> ImageClassifier:
    """The model in a `.keras` file, which Keras loads without running any code that the file holds.

    Raises:
        InvalidWeights: if the file is damaged, or holds another kind of model.
    """
    try:
        model = _model_in(path)
    except UNREADABLE as error:
        raise InvalidWeights(f"{path}: Keras cannot read it ({reason(error)}).") from error
    if not isinstance(model, ImageClassifier):
        raise InvalidWeights(f"{path}: expected a model of this library; it holds {type(model).__name__}.")
    return model


def _model_in(path: str | os.PathLike) -> Any:
    """As `keras.models.load_model`, which would hold all weights in memory beside the model."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise UserError("it is compressed, which Keras's own files are not")
        model = keras.saving.deserialize_keras_object(
            {**json.loads(archive.read("config.json")), "compile_config": None}
        )
        if isinstance(model, ImageClassifier):
            model.load_weights(archive.extract("model.weights.h5", folder))
    return model


def stored_of(model: ImageClassifier, path: str | os.PathLike) -> Stored:
    """A model seen as a file of its variables."""
    variables = {variable.path: variable for variable in model.weights}
    return Stored(
        str(path),
        {name: tuple(variable.shape) for name, variable in variables.items()},
        lambda name: np.asarray(ops.convert_to_numpy(variables[name].value), "float32"),
        {"keras_vit": description(model)},
    )
