"""The user's own Keras image layers (`--augment_layers`), as stateless functions of an image and a seed."""

import functools
import importlib
import importlib.util
import random
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError, reason
from trainers.data.augmentation import layer_randomness
from trainers.settings.augmentation import AugmentationSettings
from trainers.settings.layer_calls import LayerCall

INSTALL = {"keras_cv": "pip install 'keras_vit[cpu,keras-cv]'"}


def distort(image: tf.Tensor, seed: tf.Tensor, settings: AugmentationSettings):
    """An image after the layers of `settings.augment_layers`, in their order; the image itself if there are none.

    A layer runs as in training, on a batch of this one image. The same image and seed give the same result, whatever
    seed the layer itself was given, unless a warning says that the layer is not repeatable.

    Args:
        image: float32 (h, w, C), values 0 to 255.
        seed: int (2,).
        settings: Needs `augment_layers`.

    Returns:
        float32 (h, w, C), values clipped to 0 to 255.

    Raises:
        UserError: as `check`.
    """
    for number, call in enumerate(settings.layers):
        function, _ = _made(call, tuple(image.shape))
        # Bicubic crops overshoot.
        image = function(tf.clip_by_value(image, 0.0, 255.0), tf.random.fold_in(seed, number))
    return image


def check(settings: AugmentationSettings, shape: tuple[int, ...]):
    """Makes the layers of `settings.augment_layers`, which may take seconds, so that errors come before any training.

    Inside `Dataset.map` TensorFlow would bury the same error under its own.

    Args:
        settings: Needs `augment_layers`.
        shape: (h, w, C) of the images.

    Raises:
        UserError: if a layer cannot be imported, made or applied, changes the image's shape, has weights, or draws
            from Python's random numbers.
    """
    for call in settings.layers:
        _made(call, shape)


@functools.cache
def _made(call: LayerCall, shape: tuple[int, ...]):
    """A layer as a traced function of an image and a seed, and the layer, which keeps its variables alive.

    A layer that draws from something other than its attributes is left as it is: half of its randomness taken over
    would make it no more repeatable.
    """
    with tf.init_scope(), tf.device("CPU"):
        draws = layer_randomness.Draws()
        layer = _layer(call)
        layer_randomness.replace(layer, draws)
        function = _traced(call, layer, shape, draws)
        operations = layer_randomness.stateful_operations(function.graph)
        if not operations:
            return function, layer
        print(
            f"warning: --augment_layers={call.text} is not repeatable: its results depend on more than image and seed "
            f"({', '.join(operations)}), so another run, or this one resumed, sees other images.",
            file=sys.stderr,
            flush=True,
        )
        layer = _layer(call)
        return _traced(call, layer, shape, draws), layer


def _traced(call: LayerCall, layer: keras.layers.Layer, shape: tuple[int, ...], draws: layer_randomness.Draws):
    def apply(image: tf.Tensor, seed: tf.Tensor):
        draws.begin(seed)
        return _applied(call, layer, image)

    signature = [tf.TensorSpec(shape), tf.TensorSpec((2,), tf.int32)]
    before = _python_states()
    function = tf.function(apply, signature, autograph=False).get_concrete_function()
    if layer.weights:
        raise UserError(f"--augment_layers={call.text} has weights, which nothing here trains or saves; use none such.")
    if _python_states() != before:
        raise UserError(
            f"--augment_layers={call.text} draws from Python's random numbers, which inside tf.data happens once for "
            "all images; use a layer that draws from a keras.random.SeedGenerator."
        )
    return function


def _layer(call: LayerCall):
    """The layer that a call names, made."""
    try:
        kind = getattr(importlib.import_module(call.module), call.name)
    # Whatever somebody else's module does when it is imported.
    except (Exception, SystemExit) as error:
        raise UserError(f"--augment_layers={call.text}: {reason(error)}{_advice(call)}") from error
    if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer)):
        raise UserError(f"--augment_layers={call.text} must name a subclass of keras.layers.Layer; got {kind!r}.")
    try:
        return kind(*call.arguments, **call.keywords)
    # Whatever somebody else's layer raises is about what the user wrote.
    except Exception as error:
        raise UserError(f"--augment_layers={call.text} cannot be made: {reason(error)}") from error


def _advice(call: LayerCall):
    package = call.module.split(".")[0]
    if importlib.util.find_spec(package) is not None:
        return ""
    return f"; install it with {INSTALL[package]}" if package in INSTALL else "; install the package that has it"


def _applied(call: LayerCall, layer: keras.layers.Layer, image: tf.Tensor):
    """float32 (h, w, C): the image after a layer, values 0 to 255."""

    # With the conversion of `if` and `while` that Dataset.map would do; but UserError is not to go through it.
    @tf.function
    def batch():
        return layer(image[None], training=True)

    shape = tuple(image.shape)
    try:
        result = batch()
    except Exception as error:
        raise UserError(
            f"--augment_layers={call.text} cannot be applied to an image of shape {shape}: {reason(error)}"
        ) from error
    if not isinstance(result, tf.Tensor) or not result.shape.is_compatible_with((1, *shape)):
        got = tuple(result.shape[1:]) if isinstance(result, tf.Tensor) else type(result).__name__
        raise UserError(f"--augment_layers={call.text} must keep an image's shape {shape}; got {got}.")
    result = tf.ensure_shape(tf.cast(result, tf.float32), (1, *shape))[0]
    return tf.clip_by_value(result, 0.0, 255.0)


def _python_states():
    """States of Python's and numpy's generators, to be compared."""
    state = np.random.get_state(legacy=False)["state"]
    return random.getstate(), state["key"].tobytes(), state["pos"]
