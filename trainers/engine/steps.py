"""Updates inside the graph.

One update: gradients of the objective per replica and micro-batch -> all-reduce -> clip by global norm -> optimizer ->
averages. `n` of them run in one call, `n` being a tensor. Only the gradients are under XLA: around the reduction it
fails under tf.distribute.

Dropout is a pure function too. Keras's own seeds would give every replica the same mask, so before each micro-batch
all of them are set from (seed, step, replica, micro-batch); nothing of them needs saving.
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
        element_spec: Of a dataset of batches.
        batch_size: Global batch size, by which summed losses are divided.
        clip_norm: Largest global gradient norm; None or 0 for no clipping.
        accumulate: Micro-batches per replica and update.
        ema: Decay of the running averages of the trainable weights, or None for none.
        xla: Whether forward and backward pass are compiled.
        seed: Of dropout and stochastic depth.
    """

    def __init__(
        self,
        model,
        objective,
        optimizer,
        strategy,
        element_spec,
        *,
        batch_size,
        clip_norm=None,
        accumulate=1,
        ema=None,
        xla=False,
        seed=0,
    ):
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.strategy = strategy
        self.batch_size = batch_size
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.ema = ema
        self.seed = seed
        self._variables = [variable.value for variable in model.trainable_variables]
        self._seeds = [variable for variable in model.non_trainable_variables if "seed_generator" in variable.path]
        self._compiled_gradients = tf.function(self._gradients, jit_compile=True) if xla else self._gradients
        self._metrics = metric_names(model, objective, element_spec)
        self._totals = Totals([*self._metrics, "gradient_norm"], strategy)
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
            FloatingPointError: before an update whose gradients are not finite.
            RuntimeError: if the optimizer did not advance by `count`.
        """
        before = self.step
        try:
            self._train(iterator, tf.constant(count))
        except tf.errors.InvalidArgumentError as error:
            if "gradients" not in error.message:
                raise
            raise FloatingPointError(
                f"The gradients of step {self.step + 1} are not finite, so it was not applied. A lower learning rate, "
                "a longer warm-up or float32 may help."
            ) from error
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
        gradients, sums = self._micro_batches(batch)
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        with tf.control_dependencies([tf.debugging.assert_all_finite(norm, "gradients")]):
            gradients = [tf.identity(gradient) for gradient in gradients]
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        self._totals.add({**sums, "gradient_norm": (norm, 1.0)})

    def _micro_batches(self, batch):
        """Gradients and metric sums of one replica's part, added up over its micro-batches."""
        if self.accumulate == 1:
            self._set_seeds(0)
            return self._compiled_gradients(batch)
        parts = {name: tf.reshape(rows, (self.accumulate, -1, *rows.shape[1:])) for name, rows in batch.items()}
        gradients = [tf.zeros_like(variable) for variable in self._variables]
        sums = {name: (0.0, 0.0) for name in self._metrics}
        for number in tf.range(self.accumulate):
            self._set_seeds(number)
            more, more_sums = self._compiled_gradients({name: part[number] for name, part in parts.items()})
            gradients = [total + part for total, part in zip(gradients, more, strict=True)]
            sums = {name: (sums[name][0] + more_sums[name][0], sums[name][1] + more_sums[name][1]) for name in sums}
        return gradients, sums

    def _set_seeds(self, number):
        """Gives every dropout layer its state for this step, replica and micro-batch."""
        if not self._seeds:
            return
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self.optimizer.iterations.value, tf.int64)
        parts = self.strategy.num_replicas_in_sync * self.accumulate
        place = step * parts + tf.cast(replica, tf.int64) * self.accumulate + tf.cast(number, tf.int64)
        states = tf.random.stateless_uniform(
            (len(self._seeds), 2), tf.stack([tf.constant(self.seed, tf.int64), place]), None, None, tf.int64
        )
        for variable, state in zip(self._seeds, tf.unstack(states), strict=True):
            variable.value.assign(tf.cast(state, variable.value.dtype))

    def _gradients(self, batch):
        with tf.GradientTape() as tape:
            losses_B, sums = self.objective(self.model, batch, training=True)
            loss = tf.reduce_sum(losses_B * batch["weights"]) / self.batch_size
        gradients = tape.gradient(loss, self._variables, unconnected_gradients="zero")
        # Relative positions are looked up, and would hand on their gradient as sparse slices.
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums

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
