"""What an update keeps beside weights and optimizer: running averages of weights, and the loss scale."""

import contextlib

import tensorflow as tf


class Averages:
    """Exponential moving averages of variables (Polyak), swapped in by backup and assignment, so that no bit is lost.

    Args:
        variables: tf.Variables, created under `strategy`.
        decay: Decay of the averages.
        strategy: tf.distribute strategy.
    """

    def __init__(self, variables, decay: float, strategy):
        self._variables = variables
        self._decay = decay
        self._strategy = strategy
        with strategy.scope():
            self.values = [tf.Variable(variable, trainable=False) for variable in variables]

    def update(self, step):
        """Follows the variables; called in the graph, outside replicas, after update number `step`."""
        # Early on the average follows closely, so that it forgets the initial weights.
        step = tf.cast(step, tf.float32)
        decay = tf.minimum(self._decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.values, self._variables, strict=True):
            self._strategy.extended.update(
                average, lambda mean, value: mean.assign_sub((mean - value) * (1.0 - decay)), args=(variable,)
            )

    @contextlib.contextmanager
    def swapped_in(self):
        """Within this context the variables hold their averages; afterwards bit for bit what they were."""
        backup = [tf.identity(variable) for variable in self._variables]
        self.take_over()
        try:
            yield
        finally:
            self._assign(backup)

    def take_over(self):
        """Replaces the variables by their averages for good."""
        self._assign([tf.identity(average) for average in self.values])

    def _assign(self, values):
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)


class LossScale:
    """A factor on the loss: halved when gradients overflow, doubled after a long time without.

    Without it float16 gradients are too small (arXiv 1710.03740, section 3.2). Keras's own scaler decides on each
    replica by itself and so corrupts weights under tf.distribute; this one is asked once, with the reduced gradients.

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
