"""`try` and `except` inside a tf.data graph."""

from collections.abc import Callable

import tensorflow as tf


def attempt(function: Callable, otherwise: Callable, value: tf.Tensor):
    """function(value), or otherwise(value) where an operation of the function fails.

    Args:
        function: Function from a tensor to a structure of tensors.
        otherwise: Function to a structure of the same shapes and types; runs only where the function failed.
        value: A tensor.
    """
    once = tf.data.Dataset.from_tensors(value)
    return once.map(function).ignore_errors().concatenate(once.map(otherwise)).take(1).get_single_element()
