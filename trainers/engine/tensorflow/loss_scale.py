"""Dynamic loss scaling: float16 gradients are too small without it (arXiv 1710.03740, section 3.2)."""

import tensorflow as tf


class LossScale:
    """A factor on the loss: halved when gradients overflow, doubled after a long time without.

    Keras's own scaler decides on each replica by itself and so corrupts weights under tf.distribute; this one is asked
    once, with the reduced gradients.

    Args:
        strategy: tf.distribute strategy.
    """

    INITIAL, SMALLEST, LARGEST = 2.0**15, 1.0, 2.0**24
    GROWS_AFTER = 2000

    def __init__(self, strategy):
        with strategy.scope():
            self.value = tf.Variable(self.INITIAL, trainable=False, name="loss_scale")
            self.finite_steps = tf.Variable(0, trainable=False, name="finite_steps", dtype=tf.int64)

    @property
    def exhausted(self):
        """Whether the scale can shrink no further; a tensor."""
        return self.value <= self.SMALLEST

    def update(self, finite):
        """After each step; called in the graph, outside replicas.

        Args:
            finite: Whether the reduced gradients were; a boolean tensor.
        """
        steps = tf.where(finite, self.finite_steps + 1, 0)
        grows = steps >= self.GROWS_AFTER
        value = tf.where(grows, self.value * 2.0, tf.where(finite, self.value, self.value / 2.0))
        self.value.assign(tf.clip_by_value(value, self.SMALLEST, self.LARGEST))
        self.finite_steps.assign(tf.where(grows, tf.zeros_like(steps), steps))
