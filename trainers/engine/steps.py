"""Updates inside the graph.

One update: gradients of the objective per replica -> all-reduce -> clip by global norm -> optimizer -> averages. `n` of
them run in one call, `n` being a tensor.
"""

import contextlib

import tensorflow as tf

from trainers.engine.totals import Totals, metric_names


class Steps:
    """The graph functions of one training run.

    Args:
        model: Keras model, its variables created under `strategy`.
        objective: Callable (model, batch, training) -> (losses (B,), {name: (sum, count)}).
        optimizer: Keras optimizer, built under `strategy`; must not clip.
        strategy: tf.distribute strategy.
        element_spec: Of the dataset of batches.
        batch_size: Global batch size, by which summed losses are divided.
        clip_norm: Largest global gradient norm; None or 0 for no clipping.
        ema: Decay of the running averages of the trainable weights, or None for none.
        xla: Whether forward and backward pass are compiled.
    """

    def __init__(
        self, model, objective, optimizer, strategy, element_spec, *, batch_size, clip_norm=None, ema=None, xla=False
    ):
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.strategy = strategy
        self.batch_size = batch_size
        self.clip_norm = clip_norm
        self.ema = ema
        self._variables = [variable.value for variable in model.trainable_variables]
        self._compiled_gradients = tf.function(self._gradients, jit_compile=True) if xla else self._gradients
        self._totals = Totals([*metric_names(model, objective, element_spec), "gradient_norm"], strategy)
        # The engine reduces gradients before it clips them; the optimizer's own reduction would do it again.
        optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables
        with strategy.scope():
            self._averages = [tf.Variable(variable, trainable=False) for variable in self._variables] if ema else []

    @property
    def step(self) -> int:
        """Updates done so far."""
        return int(self.optimizer.iterations.numpy())

    def train(self, iterator, count: int) -> dict[str, float]:
        """Runs `count` updates and returns the means of their metrics.

        Args:
            iterator: Over distributed batches.
            count: Number of updates.

        Raises:
            RuntimeError: if the optimizer did not advance by `count`.
        """
        before = self.step
        self._train(iterator, tf.constant(count))
        if self.step != before + count:
            raise RuntimeError(f"The step counter went from {before} to {self.step}, not by {count}.")
        return self._totals.take_means()

    @contextlib.contextmanager
    def averaged(self):
        """Within this context the model's weights are their running averages; afterwards bit for bit what they were."""
        if not self._averages:
            yield
            return
        backup = [tf.identity(variable) for variable in self._variables]
        self.use_averages()
        try:
            yield
        finally:
            self._assign(backup)

    def use_averages(self):
        """Replaces the model's weights by their running averages for good; does nothing where none are kept."""
        if self._averages:
            self._assign([tf.identity(average) for average in self._averages])

    @tf.function(reduce_retracing=True)
    def _train(self, iterator, count):
        for _ in tf.range(count):
            self.strategy.run(self._update, args=(next(iterator),))
            self._update_averages()

    def _update(self, batch):
        gradients, sums = self._compiled_gradients(batch)
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        self._totals.add({**sums, "gradient_norm": (norm, 1.0)})

    def _gradients(self, batch):
        with tf.GradientTape() as tape:
            losses_B, sums = self.objective(self.model, batch, training=True)
            loss = tf.reduce_sum(losses_B * batch["weights"]) / self.batch_size
        return tape.gradient(loss, self._variables, unconnected_gradients="zero"), sums

    def _update_averages(self):
        if not self._averages:
            return
        # Early on the average follows closely, so that it forgets the initial weights.
        step = tf.cast(self.optimizer.iterations.value, tf.float32)
        decay = tf.minimum(self.ema, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self._averages, self._variables, strict=True):
            self.strategy.extended.update(
                average, lambda mean, value: mean.assign_sub((mean - value) * (1.0 - decay)), args=(variable,)
            )

    def _assign(self, values):
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)
