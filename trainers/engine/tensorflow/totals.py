"""Metrics as sums and counts: added up on each replica, reduced when read, divided once."""

import tensorflow as tf


class Totals:
    """Running (sum, count) pairs.

    Args:
        names: Names of the metrics.
        strategy: Under whose replicas they are added up.
    """

    def __init__(self, names, strategy):
        with strategy.scope():
            self._pairs = {name: _pair(name) for name in names}

    def add(self, sums):
        """Adds {name: (sum, count)}; called on replicas, inside the graph."""
        for name, (total, count) in sums.items():
            self._pairs[name].assign_add(tf.stack([tf.cast(total, tf.float32), tf.cast(count, tf.float32)]))

    def take_means(self) -> dict[str, float]:
        """The means over all replicas since the last call; a metric that counted nothing is NaN."""
        return {name: total / count if count else float("nan") for name, (total, count) in self.take().items()}

    def take(self) -> dict[str, tuple[float, float]]:
        """Sum and count over all replicas since the last call, by metric."""
        taken = {}
        for name, pair in self._pairs.items():
            total, count = pair.numpy()
            pair.assign(tf.zeros_like(pair))
            taken[name] = (float(total), float(count))
        return taken


def metric_names(model, objective, element_spec) -> list[str]:
    """The metrics an objective sums, found out on one empty example.

    Args:
        model: Model that the objective calls.
        objective: Callable (model, batch) -> (losses, sums).
        element_spec: Element specification of a dataset of batches.
    """
    example = {name: tf.zeros((1, *spec.shape[1:]), spec.dtype) for name, spec in element_spec.items()}
    return list(objective(model, example)[1])


def _pair(name):
    return tf.Variable(
        [0.0, 0.0],
        trainable=False,
        name=f"total_{name}",
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )
