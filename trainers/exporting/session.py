"""A SavedModel run as TF Serving runs it: loaded by TensorFlow into a session, no Keras and no Python of ours in it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[Callable[[str, Any], dict[str, np.ndarray]]]:
    """Loads a SavedModel, for as long as the context lasts.

    A session restores variables by the file's own operations, as the C loader does, and stumbles over what that
    stumbles over; `tf.saved_model.load` would build Python objects instead.

    Args:
        path: Folder of the SavedModel.

    Returns:
        A function of a signature's name and its input to the outputs by name.
    """
    graph = tf.Graph()
    with graph.as_default(), _quiet():
        session = tf.compat.v1.Session(graph=graph)
        loaded = tf.compat.v1.saved_model.loader.load(session, [tf.saved_model.SERVING], os.fspath(path))

    def run(signature: str, values: Any) -> dict[str, np.ndarray]:
        told = loaded.signature_def[signature]
        (fed,) = told.inputs.values()
        wanted = {name: output.name for name, output in told.outputs.items()}
        return session.run(wanted, {fed.name: values})

    with contextlib.closing(session):  # as a context of its own it would make its graph the default one
        yield run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without TensorFlow's advice to load by `tf.saved_model.load`."""
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(before)
