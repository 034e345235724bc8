"""From a model to another format by somebody's converter, which runs in a process of its own.

Converters keep the memory that they took, fill the terminal, and end their process over some mistakes.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_vit.classifier import ImageClassifier, in_float32
from keras_vit.errors import UserError
from keras_vit.export.answering import SIGNATURE, Answering, main_output
from keras_vit.images import transform

# The steps of an answer, each a signature: SIGNATURE is all of them.
STEPS = ("preprocess", "compute", "answer")
LAST_LINES, LONGEST = 4, 400  # of what a converter says before it fails


def write_saved_model(
    model: ImageClassifier,
    folder: pathlib.Path,
    answering: Answering,
    batch: int | None,
    sides: tuple[int | None, int | None] = (None, None),
) -> None:
    """Writes what is to be converted: a SavedModel from `images` uint8 to an answer, in whole and in steps.

    Args:
        model: Model as `keras_vit.build` returns it; it is written in float32.
        folder: Made here.
        answering: How logits become an answer, `probabilities`; a model without a head answers `features`.
        batch: Images at a time; None leaves it open.
        sides: Height and width of the images; None leaves one open.
    """
    whole = in_float32(model)
    archive = keras.export.ExportArchive()  # what tf.saved_model.save writes of a Keras 3 model may answer NaN
    for name, (method, spec) in _signatures(whole, answering, batch, sides).items():
        archive.add_endpoint(name, method, input_signature=[spec])
    archive.write_out(os.fspath(folder), verbose=False)


def _signatures(model, answering, batch, sides) -> dict[str, tuple[Callable, tf.TensorSpec]]:
    """Name -> function and the specification of its input."""
    shape, name = model.architecture.image_shape, main_output(model)

    def preprocess(images):
        return {"pixels": transform.apply(images, model.preprocessing)}

    def compute(pixels):
        return {"logits": tf.cast(model(pixels, training=False), tf.float32)}

    def answer(logits):
        return {name: answering.probabilities_of(logits) if model.architecture.num_classes else logits}

    def whole(images):
        return answer(**compute(**preprocess(images)))

    images = tf.TensorSpec((batch, *sides, shape[-1]), tf.uint8, name="images")
    return {
        SIGNATURE: (whole, images),
        "preprocess": (preprocess, images),
        "compute": (compute, tf.TensorSpec((batch, *shape), tf.float32, name="pixels")),
        "answer": (answer, tf.TensorSpec((batch, model.output_shape[-1]), tf.float32, name="logits")),
    }


def run(what: str, module: str, arguments: Sequence[Any]) -> None:
    """Runs a module of Python in a process of its own, without accelerators, and hides what it says.

    Raises:
        UserError: with the last lines of that, if it fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise UserError(f"{what} failed ({_ending(done.returncode)}): {_telling_lines(done.stdout)}")


def _telling_lines(said: str) -> str:
    """The last lines that speak of errors, if any do: a converter may print the whole graph at its end."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # Of TensorFlow's log, whose lines begin like E0000, errors are that there is no GPU.
    telling = [line for line in lines if re.search(r"[Ee]rror\b.*:", line) and not re.match(r"[IWE]\d{4} ", line)]
    telling = telling or lines
    return " | ".join(line[:LONGEST] for line in telling[-LAST_LINES:])


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
