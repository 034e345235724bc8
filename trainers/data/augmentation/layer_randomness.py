"""Makes a Keras layer draw its random numbers from a seed that it is given, instead of from its own state.

A Keras layer's generator is a variable that every call advances: inside a parallel `Dataset.map` it depends on chance
which image gets which numbers, and a resumed run begins again with the first. So whatever a layer draws from, and the
layers inside it, is replaced by stand-ins that number their draws and fold the number into the image's seed.
"""

import re
import sys
from typing import Any

import keras
import tensorflow as tf

# Beginnings of the names of operations that draw from a state or change one: with any of them, results do not follow
# from a graph's inputs alone. What Python code does with `PyFunc` nobody knows.
STATEFUL = re.compile(
    r"Assign|EagerPyFunc|Multinomial|NonDeterministic|ParameterizedTruncated|PyFunc$|Random(?!Index|GammaGrad)|"
    r"Resource(Apply|Scatter)|Rng|SampleDistorted|Stateful(?!Partitioned)|Timestamp|Truncated"
)


class Draws:
    """Seeds that follow from one seed and the order in which they are asked for."""

    def begin(self, seed: tf.Tensor):
        self._seed, self._count = seed, 0

    def next(self):
        self._count += 1
        return tf.random.fold_in(self._seed, self._count)


def replace(layer: keras.layers.Layer, draws: Draws) -> None:
    """Lets a layer, and the layers inside it, draw from `draws`; their own seeds do not count any more.

    Reached are attributes that are a `keras.random.SeedGenerator`, a `tf.random.Generator`, or a sampler of KerasCV. A
    draw inside a loop of the graph gives the same in each round. Generators of Python's and NumPy's own that a layer
    keeps are not seen: they would draw once, while the graph is traced, for all images.
    """
    for name, value in list(vars(layer).items()):
        for kind, stand_in in _stand_ins().items():
            if isinstance(value, kind):
                # Keras's own __setattr__ refuses a new generator once a layer is built.
                object.__setattr__(layer, name, stand_in(value, draws))
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        replace(inner, draws)


def stateful_operations(graph: tf.Graph) -> list[str]:
    """Kinds of operations in a graph, and in the functions that it calls, that keep it from being repeatable."""
    definition = graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return sorted({node.op for body in bodies for node in body if STATEFUL.match(node.op)})


class _Seeds(keras.random.SeedGenerator):
    """Keras's functions take their seed from an object of this class, by `next`."""

    def __init__(self, replaced: Any, draws: Draws):
        self._draws = draws

    def next(self, ordered=True):
        return self._draws.next()


class _Generator:
    """A `tf.random.Generator`, as far as image layers use it; the rest it leaves to the one that it replaces."""

    def __init__(self, replaced: Any, draws: Draws):
        self._replaced, self._draws = replaced, draws

    def __getattr__(self, name):
        return getattr(self._replaced, name)

    def uniform(self, shape, minval=0, maxval=None, dtype=tf.float32, name=None):
        return tf.random.stateless_uniform(shape, self._draws.next(), minval, maxval, dtype, name)

    def normal(self, shape, mean=0.0, stddev=1.0, dtype=tf.float32, name=None):
        return tf.random.stateless_normal(shape, self._draws.next(), mean, stddev, dtype, name)

    def truncated_normal(self, shape, mean=0.0, stddev=1.0, dtype=tf.float32, name=None):
        return tf.random.stateless_truncated_normal(shape, self._draws.next(), mean, stddev, dtype, name)


class _Uniform:
    """KerasCV's `UniformFactorSampler`, which draws from TensorFlow's global state."""

    def __init__(self, replaced: Any, draws: Draws):
        self._replaced, self._draws = replaced, draws

    def __call__(self, shape=(), dtype="float32"):
        low, high = self._replaced.lower, self._replaced.upper
        return tf.random.stateless_uniform(shape, self._draws.next(), low, high, dtype)


class _Normal:
    """KerasCV's `NormalFactorSampler`, likewise."""

    def __init__(self, replaced: Any, draws: Draws):
        self._replaced, self._draws = replaced, draws

    def __call__(self, shape=(), dtype="float32"):
        its = self._replaced
        drawn = tf.random.stateless_normal(shape, self._draws.next(), its.mean, its.stddev, dtype)
        return tf.clip_by_value(drawn, its.min_value, its.max_value)


def _stand_ins():
    """Class -> what takes the place of its objects; KerasCV's only where the user's layer has imported it."""
    stand_ins = {keras.random.SeedGenerator: _Seeds, tf.random.Generator: _Generator}
    keras_cv = sys.modules.get("keras_cv")
    if keras_cv is not None:
        stand_ins |= {keras_cv.core.UniformFactorSampler: _Uniform, keras_cv.core.NormalFactorSampler: _Normal}
    return stand_ins
