"""Evaluation inside the graph: every example counted once, however batches and replicas divide them."""

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from trainers.engine.endings import NotFinite
from trainers.engine.protocols import Feed
from trainers.engine.tensorflow.feeding import distribute
from trainers.engine.tensorflow.totals import Totals, metric_names


class Evaluation:
    """An objective's metrics over one dataset, as often as they are asked for.

    Args:
        strategy: tf.distribute strategy.
        model: Keras model.
        objective: Callable (model, batch) -> (losses (B,), {name: (sum, count)}), rows weighted by batch["weights"].
        feed: Feed of finite global batches.
        batch_size: Global batch size.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model, objective, feed: Feed, batch_size: int):
        self.model = model
        self.objective = objective
        self.strategy = strategy
        self._batches = distribute(feed, strategy, batch_size, autotune=False)
        self._totals = Totals(metric_names(model, objective, feed(0, 1, batch_size).element_spec), strategy)

    def run(
        self, callbacks: keras.callbacks.CallbackList | None = None, after_batch: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Means over the whole dataset, with the model's weights as they are.

        Args:
            callbacks: Callbacks told of the test's beginning, batches and end.
            after_batch: Function called after each batch.

        Raises:
            NotFinite: if a mean is not finite.
        """
        callbacks = callbacks or keras.callbacks.CallbackList([], model=self.model)
        callbacks.on_test_begin()
        for number, batch in enumerate(self._batches):
            callbacks.on_test_batch_begin(number)
            self._measure(batch)
            callbacks.on_test_batch_end(number)
            after_batch()
        # What counted nothing, such as the accuracy of examples without a label, is left out.
        means = {name: total / count for name, (total, count) in self._totals.take().items() if count}
        if not all(map(math.isfinite, means.values())):
            raise NotFinite(f"The evaluation is not finite ({means}): training has diverged.")
        callbacks.on_test_end(means)
        return means

    @tf.function(reduce_retracing=True)
    def _measure(self, batch):
        self.strategy.run(lambda part: self._totals.add(self.objective(self.model, part)[1]), args=(batch,))
