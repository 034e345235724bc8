"""From encoded images to arrays, on all processors, with those that cannot be read kept apart."""

import concurrent.futures
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from keras_vit.errors import reason
from trainers import machine
from trainers.inference.predictor import Answer, Answers, Unreadable


def reader(function: Callable) -> Answer:
    """A function from encoded images to their arrays.

    Args:
        function: From a string scalar to a tensor, in the graph.
    """
    compiled = tf.function(function, input_signature=[tf.TensorSpec((), tf.string)])

    def one(encoded: bytes) -> np.ndarray | Unreadable:
        try:
            return compiled(tf.constant(encoded)).numpy()
        except tf.errors.InvalidArgumentError as error:
            return Unreadable(reason(error))

    def read(encoded: Sequence[bytes]) -> Answers:
        with concurrent.futures.ThreadPoolExecutor(machine.cpus()) as pool:
            return list(pool.map(one, encoded))

    return read


def answered(images: Answers, compute: Callable[[list[np.ndarray]], Sequence[np.ndarray]]) -> Answers:
    """The answers of the images that could be read, each in its place.

    Args:
        images: As of `reader`.
        compute: From the arrays of at least one image to an answer for each.
    """
    good = [number for number, image in enumerate(images) if isinstance(image, np.ndarray)]
    answers = list(images)
    if good:
        computed = compute([images[number] for number in good])  # type: ignore[misc]
        for number, answer in zip(good, computed, strict=True):
            answers[number] = np.asarray(answer, "float32")
    return answers
