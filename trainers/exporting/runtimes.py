"""What runs an artefact apart from Keras: each runtime is opened on a path and answers for encoded images."""

import contextlib
import importlib.util
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_vit.classifier import in_float32
from keras_vit.errors import UserError
from keras_vit.export import description
from keras_vit.export.answering import SIGNATURE, Answering
from keras_vit.export.saved_model import EXTRA, MAIN
from keras_vit.images import decoding, transform
from trainers.exporting import openvino_session, session
from trainers.inference import opening

PROBABILITIES, FEATURES = MAIN
# From encoded images to their probabilities (N, Y) or features (N, D).
Answer = Callable[[Sequence[bytes]], np.ndarray]
OwnAnswer = Callable[[Sequence[bytes]], dict[str, np.ndarray]]  # of the model itself, by output
ROWS = 16  # images at a time where any number will do


class Runtime(NamedTuple):
    """What runs an artefact.

    Args:
        name: For people.
        output: What it answers: `probabilities` or `features`.
        answer: How.
    """

    name: str
    output: str
    answer: Answer


def main_output(model: Any) -> str:
    """What a model answers before anything else."""
    return PROBABILITIES if model.architecture.num_classes else FEATURES


def of_keras(model: Any, answering: Answering) -> OwnAnswer:
    """The model itself, in float32, and all of its outputs: what everything else is held against."""
    copy = in_float32(model)
    outputs = {FEATURES: copy.get_layer("pre_logits").output}
    if model.architecture.num_classes:
        outputs[PROBABILITIES] = copy.output
    whole, read = keras.Model(copy.input, outputs), _reader(model)

    @tf.function(input_signature=[tf.TensorSpec((None, *model.architecture.image_shape), tf.float32)])
    def compute(pixels_BHWC):
        found = {name: tf.cast(value, tf.float32) for name, value in whole(pixels_BHWC, training=False).items()}
        if PROBABILITIES in found:
            found[PROBABILITIES] = answering.probabilities_of(found[PROBABILITIES])
        return found

    return lambda encoded: {name: value.numpy() for name, value in compute(read(encoded)).items()}


@contextlib.contextmanager
def of_saved_model(path: pathlib.Path, model: Any) -> Iterator[list[Runtime]]:
    """A session, by each signature; and OpenVINO, where it is installed.

    Raises:
        UserError: if it names classes otherwise than the model.
    """
    check_labels((path / EXTRA / description.LABELS).read_text(encoding="utf-8").splitlines(), model)
    main, labels, read = main_output(model), np.array(description.labels_of(model)), _reader(model)
    with contextlib.ExitStack() as opened:
        run = opened.enter_context(session.opened(path))

        def by_bytes(encoded):
            found = run(SIGNATURE, list(encoded))
            check_best(found, labels)
            return found[main]

        def by_images(encoded):
            images = [decoding.decode(tf.constant(one), model.architecture.channels) for one in encoded]
            return np.concatenate([run("images", image[None].numpy())[main] for image in images])

        name = "TensorFlow session"
        runtimes = [
            Runtime(name, main, by_bytes),
            Runtime(f"{name}, images", main, by_images),
            Runtime(f"{name}, pixels", main, lambda encoded: run("pixels", read(encoded))[main]),
            Runtime(f"{name}, features", FEATURES, lambda encoded: run("features", list(encoded))[FEATURES]),
        ]
        if importlib.util.find_spec("openvino"):
            by_openvino = opened.enter_context(openvino_session.opened(path))
            runtimes.append(Runtime("OpenVINO, pixels", main, lambda encoded: by_openvino(read(encoded))))
        yield runtimes


@contextlib.contextmanager
def of_file(path: pathlib.Path, model: Any) -> Iterator[list[Runtime]]:
    """The runtime that `trainers.predict` opens such a file with.

    Raises:
        UserError: if it cannot be opened, or names classes otherwise than the model.
    """
    artefact = opening.open_artefact(os.fspath(path))
    check_labels(artefact.labels, model)

    def answer(encoded):
        found = artefact.answer(encoded)
        refused = next((one for one in found if not isinstance(one, np.ndarray)), None)
        if refused is not None:
            raise UserError(f"it does not read an image that its model reads: {refused.reason}")
        return np.stack(found)

    yield [Runtime(RUNTIMES[artefact.kind], main_output(model), answer)]


def check_labels(found: Sequence[str], model: Any) -> None:
    """Raises UserError if labels are not those of a model's classes, in their order."""
    wanted = description.lines_of(model)
    if list(found) != wanted:
        pairs = enumerate(itertools.zip_longest(found, wanted))
        number, (theirs, ours) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
        raise UserError(f"its label of class {number} is {theirs!r}, the model's {ours!r}")


def check_best(found: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Raises UserError if the best classes of an answer are not those of its probabilities, by number and name."""
    if PROBABILITIES not in found:
        return
    indices = found["top_indices"]
    told = np.take_along_axis(found[PROBABILITIES], indices, axis=1)
    best = -np.sort(-found[PROBABILITIES], axis=1)[:, : indices.shape[1]]
    names = [[name.decode() for name in row] for row in found["top_labels"]]
    if not np.array_equal(told, best) or not np.array_equal(found["top_probabilities"], best):
        raise UserError("its best classes are not those of its probabilities")
    if names != labels[indices].tolist():
        raise UserError("its names of the best classes are not the model's")


def all_answers(answer: Answer, encoded: Sequence[bytes]) -> np.ndarray:
    """The answers to all images, some at a time."""
    return np.concatenate([answer(part) for part in _parts(encoded)])


def all_outputs(own: OwnAnswer, encoded: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Those of the model itself, by output."""
    found = [own(part) for part in _parts(encoded)]
    return {output: np.concatenate([part[output] for part in found]) for output in found[0]}


def _parts(encoded: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [encoded[first : first + ROWS] for first in range(0, len(encoded), ROWS)]


def _reader(model: Any) -> Answer:
    """From encoded images to pixels (N, h, w, C) as the model wants them."""

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def one(encoded):
        return transform.transform(decoding.decode(encoded, model.architecture.channels), model.preprocessing)

    return lambda encoded: np.stack([one(tf.constant(image)).numpy() for image in encoded])


# Kind of an opened artefact -> what runs it.
RUNTIMES = {"tflite": "LiteRT", "onnx": "ONNX Runtime"}
