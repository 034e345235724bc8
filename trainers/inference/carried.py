"""Single files that `trainers.export` wrote, whose runtimes take arrays of pixels: how images become those."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vit.images import decoding, transform
from keras_vit.preprocessing import Preprocessing
from trainers.inference import pixels
from trainers.inference.predictor import Artefact


class Input(NamedTuple):
    """What a file takes.

    Args:
        sides: (H, W), of which each is None where any will do.
        channels: C.
        dtype: `uint8` for pixels as decoded, `float32` for pixels resized and scaled.
    """

    sides: Sequence[int | None]
    channels: int
    dtype: str


def artefact(
    kind: str, input: Input, run: Callable[[np.ndarray], np.ndarray], labels: str, description: str
) -> Artefact:
    """An artefact of a file that answers one image at a time.

    Args:
        kind: Of the artefact.
        input: What the file takes.
        run: From pixels (1, H, W, C) to probabilities (1, Y), or features (1, D).
        labels: The `labels.txt` that it carries.
        description: Its `keras_vit.json`.
    """
    height, width = input.sides
    wanted = Preprocessing(**json.loads(description)["preprocessing"])

    def prepared(encoded):
        image = decoding.decode(encoded, input.channels)
        if input.dtype == "float32":
            return transform.transform(image, wanted)
        if height is None or width is None:
            return image
        # What the model crops keeps its aspect here too.
        kept = dataclasses.replace(wanted, size=(height, width), crop=None if wanted.crop is None else 1.0)
        resized = transform.resize(image, kept)
        return tf.cast(tf.round(tf.clip_by_value(resized, 0.0, 255.0)), tf.uint8)

    read = pixels.reader(prepared)
    return Artefact(
        kind,
        tuple(labels.splitlines()),
        lambda encoded: pixels.answered(read(encoded), lambda images: [run(image[None])[0] for image in images]),
    )
