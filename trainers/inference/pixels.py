"""What answers for arrays of pixels, made to answer for encoded images; those that cannot be read are kept apart."""

import concurrent.futures
import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vit.errors import reason
from keras_vit.export.answering import MAIN
from keras_vit.export.description import Told
from keras_vit.images import decoding, transform
from keras_vit.preprocessing import Preprocessing
from trainers import machine
from trainers.inference.predictor import Answer, Answers, Predictor, Unreadable

Read = Callable[[tf.Tensor], tf.Tensor]  # from a string scalar to an image, in the graph
Run = Callable[[np.ndarray], np.ndarray]  # from images (B, H, W, C) to answers (B, Y) or (B, D)


@functools.cache
def decoded(channels: int) -> Read:
    """Images uint8 (H, W, C), of any height and width."""
    return lambda encoded: decoding.decode(encoded, channels)


def resized(channels: int, preprocessing: Preprocessing, size: tuple[int, int]) -> Read:
    """Images uint8 (H, W, C) of one size, for what preprocesses them itself."""
    # What the model crops keeps its aspect here too.
    whole = dataclasses.replace(preprocessing, size=size, crop=None if preprocessing.crop is None else 1.0)

    def read(encoded):
        image = transform.resize(decoding.decode(encoded, channels), whole)
        return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)

    return read


@functools.cache
def preprocessed(channels: int, preprocessing: Preprocessing) -> Read:
    """Images float32 (h, w, C), as the model wants them."""
    return lambda encoded: transform.apply(decoding.decode(encoded, channels), preprocessing)


def one_by_one(read: Read, run: Run) -> Answer:
    """Of what takes one image at a time."""
    return _answer(read, lambda images: [run(image[None])[0] for image in images])


def together(read: Read, run: Run) -> Answer:
    """Of what takes any number, for images of one size."""
    return _answer(read, lambda images: run(np.stack(images)))


@functools.lru_cache(maxsize=8)
def _compiled(read: Read) -> Callable[[tf.Tensor], tf.Tensor]:
    """One graph for all predictors that read alike, as those that the gate opens do."""
    return tf.function(read, input_signature=[tf.TensorSpec((), tf.string)])


def _answer(read: Read, compute: Callable[[list[np.ndarray]], Iterable[np.ndarray]]) -> Answer:
    """Images are read on all processors; those that can be are computed at once."""
    compiled = _compiled(read)

    def one(encoded: bytes) -> np.ndarray | Unreadable:
        try:
            return compiled(tf.constant(encoded)).numpy()
        except tf.errors.InvalidArgumentError as error:
            return Unreadable(reason(error))

    def answer(encoded: Sequence[bytes]) -> Answers:
        with concurrent.futures.ThreadPoolExecutor(machine.cpus()) as pool:
            images = list((pool.map if len(encoded) > 1 else map)(one, encoded))  # threads start with what is mapped
        good = [image for image in images if isinstance(image, np.ndarray)]
        answers = iter(compute(good) if good else [])
        return [image if isinstance(image, Unreadable) else np.asarray(next(answers), "float32") for image in images]

    return answer


class Input(NamedTuple):
    """What an exported file takes.

    Args:
        sides: (H, W), of which each is None where any will do.
        channels: C.
        dtype: `uint8` for pixels as decoded, `float32` for pixels resized and scaled.
    """

    sides: Sequence[int | None]
    channels: int
    dtype: str


def of_file(runtime: str, input: Input, run: Run, model_description: Told) -> Predictor:
    """What a single file that `trainers.export` wrote answers, one image at a time."""
    height, width = input.sides
    if input.dtype == "float32":
        read = preprocessed(input.channels, model_description.preprocessing)
    elif height is None or width is None:
        read = decoded(input.channels)
    else:
        read = resized(input.channels, model_description.preprocessing, (height, width))
    return Predictor(
        runtime, MAIN[0] if model_description.labels else MAIN[1], model_description.labels, one_by_one(read, run)
    )
