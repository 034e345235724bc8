"""Running averages of weights (Polyak), swapped in by backup and assignment, so that no bit is lost."""

import contextlib

import tensorflow as tf


class Averages:
    """Exponential moving averages of variables.

    Args:
        variables: tf.Variables, created under `strategy`.
        decay: Of the averages.
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
