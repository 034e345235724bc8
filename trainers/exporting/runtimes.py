"""What runs an artefact apart from Keras: each runtime is opened on a path and answers for encoded images."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vit.classifier import in_float32
from keras_vit.export import decoding, preprocessing, saved_model
from keras_vit.export.answering import Answering
from trainers.artefacts import opening
from trainers.exporting import session

# From encoded images to their probabilities (N, Y), or to features (N, D) of a model without a head.
Answer = Callable[[Sequence[bytes]], np.ndarray]
Runtimes = dict[str, Answer]
ROWS = 16  # images at a time where any number will do


def of_keras(model: Any, answering: Answering) -> Answer:
    """The model itself, in float32: what everything else is held against."""
    copy = in_float32(model)
    whole = saved_model.with_features(copy)
    signatures = saved_model.Signatures(copy, whole, answering)
    compiled = tf.function(signatures.of_bytes, input_signature=[tf.TensorSpec((None,), tf.string)])
    return lambda encoded: _of(compiled(tf.constant(encoded)))


@contextlib.contextmanager
def of_saved_model(path: pathlib.Path, model: Any) -> Iterator[Runtimes]:
    """A session, by each signature that has an answer."""
    wanted = model.preprocessing

    def decoded(encoded):
        return [decoding.decode(tf.constant(one), model.architecture.channels) for one in encoded]

    with session.opened(path) as run:

        def by_images(encoded):
            return np.concatenate([_of(run("images", image[None].numpy())) for image in decoded(encoded)])

        def by_pixels(encoded):
            pixels = [preprocessing.transform(image, wanted).numpy() for image in decoded(encoded)]
            return _of(run("pixels", np.stack(pixels)))

        yield {
            "TensorFlow session": lambda encoded: _of(run("serving_default", list(encoded))),
            "TensorFlow session, images": by_images,
            "TensorFlow session, pixels": by_pixels,
        }


@contextlib.contextmanager
def of_file(path: pathlib.Path, model: Any) -> Iterator[Runtimes]:
    """The runtime that `trainers.predict` opens such a file with."""
    artefact = opening.open_artefact(os.fspath(path))

    def answer(encoded):
        found = artefact.answer(encoded)
        refused = next((one for one in found if not isinstance(one, np.ndarray)), None)
        if refused is not None:
            raise ValueError(f"{path.name} does not read an image that its model reads: {refused.reason}")
        return np.stack(found)

    yield {RUNTIMES[artefact.kind]: answer}


def all_answers(answer: Answer, encoded: Sequence[bytes]) -> np.ndarray:
    """The answers to all images, some at a time."""
    return np.concatenate([answer(encoded[first : first + ROWS]) for first in range(0, len(encoded), ROWS)])


def _of(outputs) -> np.ndarray:
    return np.asarray(outputs["probabilities" if "probabilities" in outputs else "features"], "float32")


# Kind of an opened artefact -> what runs it.
RUNTIMES = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}
