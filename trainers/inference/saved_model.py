"""SavedModels that `trainers.export` wrote, run by TensorFlow without building a Keras model."""

import os
from typing import Any

import tensorflow as tf

from keras_vit.errors import UserError, reason
from keras_vit.export.answering import SIGNATURE
from keras_vit.export.description import LABELS
from keras_vit.export.saved_model import EXTRA, MAIN
from trainers import files
from trainers.inference.predictor import Answers, Artefact, apart

FILE = "saved_model.pb"


def recognises(path: str) -> bool:
    """Whether a path is the folder of a SavedModel, or one of numbered versions as servers and exports have it."""
    return files.is_folder(path) and (files.exists(os.path.join(path, FILE)) or bool(_versions(path)))


def opened(path: str, flag: str) -> Artefact:
    """The SavedModel, or of numbered versions the newest.

    Raises:
        UserError: if it cannot be read, or has other signatures than ours.
    """
    place = _newest(path, flag)
    try:
        loaded: Any = tf.saved_model.load(place)
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(f"--{flag}={path}: TensorFlow cannot load {place}: {reason(error)}.") from error
    signature = loaded.signatures.get(SIGNATURE)
    outputs = signature.structured_outputs if signature is not None else {}
    output = next((name for name in MAIN if name in outputs), None)
    if output is None or set(signature.structured_input_signature[1]) != {"bytes"}:
        raise UserError(
            f"--{flag}={path}: the SavedModel has no signature {SIGNATURE} from `bytes` to `probabilities` or "
            "`features`; those that python -m trainers.export writes have it."
        )
    labels = _labels(place, outputs[output].shape[-1] if output == "probabilities" else 0)

    def all_of(encoded) -> Answers:
        found = signature(bytes=tf.constant(list(encoded), tf.string))
        return list(found[output].numpy())

    def answer(encoded) -> Answers:
        assert loaded  # which holds the variables that the signature refers to
        return apart(all_of, encoded, tf.errors.InvalidArgumentError, lambda error: reason(error))

    return Artefact("saved_model", labels, answer)


def _versions(path: str) -> list[str]:
    """Names of numbered folders, the newest first."""
    try:
        names = files.names(path)
    except tf.errors.OpError:  # whoever reads it next says why
        return []
    numbers = [name for name in names if name.isdecimal() and files.is_folder(os.path.join(path, name))]
    return sorted(numbers, key=int, reverse=True)


def _newest(path: str, flag: str) -> str:
    if files.exists(os.path.join(path, FILE)):
        return path
    folders = [os.path.join(path, version) for version in _versions(path)]
    for folder in folders:
        if files.exists(os.path.join(folder, FILE)):
            return folder
    raise UserError(
        f"--{flag}={path} holds no SavedModel; name a file, such as {os.path.join(folders[0], 'model.tflite')}."
    )


def _labels(place: str, classes: int) -> tuple[str, ...]:
    file = os.path.join(place, EXTRA, LABELS)
    if not files.exists(file):
        return tuple(str(number) for number in range(classes))
    return tuple(files.read_bytes(file).decode().splitlines())
