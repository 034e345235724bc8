"""SavedModels that `trainers.export` wrote, run by TensorFlow without building a Keras model."""

import os
from typing import Any

import tensorflow as tf

from keras_vit.export.answering import SIGNATURE
from keras_vit.export.description import LABELS
from keras_vit.export.saved_model import EXTRA, MAIN
from trainers.artefacts.artefact import Answers, Artefact, apart
from trainers.data.bad_images import plain
from trainers.engine.checkpoint import reason

FILE = "saved_model.pb"


def recognises(path: str) -> bool:
    """Whether a path is the folder of a SavedModel, or one of numbered versions as servers and exports have it."""
    return tf.io.gfile.isdir(path) and (tf.io.gfile.exists(os.path.join(path, FILE)) or bool(_versions(path)))


def opened(path: str, flag: str) -> Artefact:
    """The SavedModel, or of numbered versions the newest.

    Raises:
        ValueError: if it cannot be read, or has other signatures than ours.
    """
    place = _newest(path, flag)
    try:
        loaded: Any = tf.saved_model.load(place)
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ValueError(f"--{flag}={path}: TensorFlow cannot load {place}: {reason(error)}.") from error
    signature = loaded.signatures.get(SIGNATURE)
    outputs = signature.structured_outputs if signature is not None else {}
    output = next((name for name in MAIN if name in outputs), None)
    if output is None or set(signature.structured_input_signature[1]) != {"bytes"}:
        raise ValueError(
            f"--{flag}={path}: the SavedModel has no signature {SIGNATURE} from `bytes` to `probabilities` or "
            "`features`; those that python -m trainers.export writes have it."
        )
    labels = _labels(place, outputs[output].shape[-1] if output == "probabilities" else 0)

    def all_of(encoded) -> Answers:
        found = signature(bytes=tf.constant(list(encoded), tf.string))
        return list(found[output].numpy())

    def answer(encoded) -> Answers:
        assert loaded  # which holds the variables that the signature refers to
        return apart(all_of, encoded, tf.errors.InvalidArgumentError, lambda error: plain(error.message))

    return Artefact("saved_model", labels, answer)


def _versions(path: str) -> list[str]:
    """Names of numbered folders, the newest first."""
    try:
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(path)]
    except tf.errors.OpError:  # whoever reads it next says why
        return []
    numbers = [name for name in names if name.isdecimal() and tf.io.gfile.isdir(os.path.join(path, name))]
    return sorted(numbers, key=int, reverse=True)


def _newest(path: str, flag: str) -> str:
    if tf.io.gfile.exists(os.path.join(path, FILE)):
        return path
    folders = [os.path.join(path, version) for version in _versions(path)]
    for folder in folders:
        if tf.io.gfile.exists(os.path.join(folder, FILE)):
            return folder
    raise ValueError(
        f"--{flag}={path} holds no SavedModel; name a file, such as {os.path.join(folders[0], 'model.tflite')}."
    )


def _labels(place: str, classes: int) -> tuple[str, ...]:
    file = os.path.join(place, EXTRA, LABELS)
    if not tf.io.gfile.exists(file):
        return tuple(str(number) for number in range(classes))
    with tf.io.gfile.GFile(file, "rb") as lines:
        return tuple(lines.read().decode().splitlines())
