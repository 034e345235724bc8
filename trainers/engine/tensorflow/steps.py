"""Updates inside the graph.

One update: gradients of the objective per replica and micro-batch -> all-reduce -> one finite check -> clip by global
norm -> optimizer -> averages. `n` of them run in one call, `n` being a tensor. Only the gradients are under XLA: around
the reduction it fails under tf.distribute.

Dropout is a pure function too. Keras's own seeds would give every replica the same mask, so before each micro-batch
all of them are set from (seed, step, replica, micro-batch); nothing of them needs saving.
"""

import contextlib

import numpy as np
import tensorflow as tf

from keras_vit.errors import UserError
from trainers.engine.endings import NotFinite
from trainers.engine.protocols import Feed, UpdateRule
from trainers.engine.tensorflow.feeding import distribute
from trainers.engine.tensorflow.totals import Totals, metric_names
from trainers.engine.tensorflow.update_state import Averages, LossScale


class Steps:
    """The graph functions of one training run.

    With a model in mixed_float16 the loss is scaled; gradients that overflow then halve the scale and are left out.

    Args:
        strategy: tf.distribute strategy.
        model: Keras model, its variables created under `strategy`.
        objective: Callable (model, batch, training) -> (losses (B,), {name: (sum, count)}).
        optimizer: Keras optimizer, built under `strategy`; must not clip.
        element_spec: Element specification of a dataset of batches.
        rule: Rule by which a global batch becomes an update.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model, objective, optimizer, element_spec, rule: UpdateRule):
        self.strategy = strategy
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.rule = rule
        self._variables = [variable.value for variable in model.trainable_variables]
        self._seeds = [variable for variable in model.non_trainable_variables if "seed_generator" in variable.path]
        self._compiled_gradients = tf.function(self._gradients, jit_compile=True) if rule.xla else self._gradients
        self.metrics = metric_names(model, objective, element_spec)
        self._totals = Totals([*self.metrics, "gradient_norm"], strategy)
        self._averages = Averages(self._variables, rule.ema, strategy) if rule.ema else None
        self._scale = LossScale(strategy) if model.dtype_policy.name == "mixed_float16" else None
        with strategy.scope():
            self._skipped = tf.Variable(0, trainable=False, dtype=tf.int64, name="skipped")
            self._bad_loss = tf.Variable(0.0, trainable=False, name="bad_loss")
        # The engine reduces gradients before it clips them; the optimizer's own reduction would do it again.
        optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables

    @property
    def step(self) -> int:
        """Updates done so far, skipped ones included."""
        return int(self.optimizer.iterations.numpy())

    @property
    def skipped(self) -> int:
        """Updates left out so far."""
        return int(self._skipped.numpy())

    def batches(self, feed: Feed):
        """The feed's batches, as `train` takes them."""
        return iter(distribute(feed, self.strategy, self.rule.batch_size))

    def train(self, iterator, count: int) -> dict[str, float]:
        """Runs `count` updates and returns the means of their metrics.

        Beside the objective's: gradient_norm before clipping, input_wait, the share of time spent waiting for
        batches, skipped, the share of updates left out, and loss_scale where there is one.

        Args:
            iterator: Over distributed batches.
            count: Number of updates.

        Raises:
            NotFinite: before an update whose gradients are not finite.
            RuntimeError: if the optimizer did not advance by `count`.
        """
        before, skipped = self.step, self.skipped
        healthy, waited = self._train(iterator, tf.constant(count))
        if not healthy.numpy():
            loss = self._bad_loss.numpy()
            raise NotFinite(
                f"The gradients of step {self.step + 1} are not finite (its loss: {loss:g}), so it was "
                "not applied. A lower learning rate, a longer warm-up or --precision=float32 may help, or "
                "--on_nonfinite=skip to leave such updates out."
            )
        if self.step != before + count:
            raise RuntimeError(f"The step counter went from {before} to {self.step}, not by {count}.")
        logs = self._totals.take_means() | {
            "input_wait": float(waited.numpy()),
            "skipped": (self.skipped - skipped) / count,
        }
        return logs | ({"loss_scale": float(self._scale.value.numpy())} if self._scale else {})

    def averaged(self):
        """A context in which the model's weights are their running averages; afterwards bit for bit what they were."""
        return self._averages.swapped_in() if self._averages else contextlib.nullcontext()

    def use_averages(self):
        """Replaces the model's weights by their running averages for good; does nothing where none are kept."""
        if self._averages:
            self._averages.take_over()

    def state(self) -> dict:
        """All that further updates depend on, as NumPy arrays by name."""
        parts = self._state().items()
        return {name: {path: _array(value) for path, value in part.items()} for name, part in parts}

    def restore(self, state: dict) -> None:
        """Takes over a state.

        Raises:
            UserError: if it is another model's or another optimizer's; nothing was taken over then.
        """
        ours = self._state()
        for name, part in ours.items():
            arrays = state.get(name, {})
            if {path: tuple(v.shape) for path, v in part.items()} != {path: v.shape for path, v in arrays.items()}:
                raise UserError(f"The checkpoint's {name} are not those of this model and optimizer.")
        for name, part in ours.items():
            for path, variable in part.items():
                variable.assign(tf.cast(state[name][path], variable.dtype))

    def _state(self) -> dict:
        scale = {"value": self._scale.value, "finite_steps": self._scale.finite_steps} if self._scale else {}
        paths = [variable.path for variable in self.model.trainable_variables]
        return {
            "weights": {variable.path: variable.value for variable in self.model.weights},
            "optimizer": {variable.path: variable.value for variable in self.optimizer.variables},
            "averages": dict(zip(paths, self._averages.values, strict=True)) if self._averages else {},
            "loss_scale": scale,
            "counts": {"skipped": self._skipped},
        }

    @tf.function(reduce_retracing=True)
    def _train(self, iterator, count):
        """Returns whether no update had to stop training, and the share of time spent waiting for batches."""
        begin = tf.timestamp()
        healthy, waited, free = tf.constant(True), tf.constant(0.0, tf.float64), begin
        for _ in tf.range(count):
            batch = next(iterator)
            with tf.control_dependencies(tf.nest.flatten(self.strategy.experimental_local_results(batch))):
                waited += tf.maximum(tf.timestamp() - free, 0.0)
            gradients, norm, sums = self.strategy.run(self._reduced_gradients, args=(batch,))
            finite = tf.math.is_finite(self.strategy.experimental_local_results(norm)[0])
            if finite:
                self.strategy.run(self._apply, args=(gradients, norm, sums))
                if self._averages:
                    self._averages.update(self.optimizer.iterations.value)
            else:
                healthy = self._reject(sums)
            if self._scale:
                self._scale.update(finite)
            if not healthy:
                break
            with tf.control_dependencies([self.optimizer.iterations.value + 0]):
                free = tf.timestamp()
        # The clock is read beside what it times, so that the share may come out a little above 1.
        return healthy, tf.minimum(waited / tf.maximum(free - begin, 1e-9), 1.0)

    def _reduced_gradients(self, batch):
        """On each replica: the global batch's gradients, their norm, and the metric sums of the replica's part."""
        gradients, sums = self._micro_batches(batch)
        gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self._scale:
            gradients = [gradient / self._scale.value for gradient in gradients]
        return gradients, tf.linalg.global_norm(gradients), sums

    def _apply(self, gradients, norm, sums):
        if self.rule.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.rule.clip_norm, use_norm=norm)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        self._totals.add({**sums, "gradient_norm": (norm, 1.0)})

    def _reject(self, sums):
        """Leaves an update out; returns whether training may go on. An overflow by the loss scale alone is no fault."""
        loss = self.strategy.reduce(tf.distribute.ReduceOp.SUM, sums["loss"][0], axis=None)
        self._bad_loss.assign(loss / self.rule.batch_size)
        goes_on = tf.constant(self.rule.skip_nonfinite)
        if self._scale:
            by_scale = tf.logical_and(tf.math.is_finite(loss), tf.logical_not(self._scale.exhausted))
            goes_on = tf.logical_or(goes_on, by_scale)
        if goes_on:
            self._skipped.assign_add(1)
            self.optimizer.iterations.value.assign_add(1)
        return goes_on

    def _micro_batches(self, batch):
        """Gradients and metric sums of one replica's part, added up over its micro-batches."""
        scale = tf.identity(self._scale.value) if self._scale else tf.constant(1.0)
        if self.rule.accumulate == 1:
            self._set_seeds(0)
            return self._compiled_gradients(batch, scale)
        parts = {name: tf.reshape(rows, (self.rule.accumulate, -1, *rows.shape[1:])) for name, rows in batch.items()}
        gradients = [tf.zeros_like(variable) for variable in self._variables]
        sums = {name: (0.0, 0.0) for name in self.metrics}
        for number in tf.range(self.rule.accumulate):
            # Else up to ten rounds run at once, and need the memory that their number was to save.
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            self._set_seeds(number)
            more, more_sums = self._compiled_gradients({name: part[number] for name, part in parts.items()}, scale)
            gradients = [total + part for total, part in zip(gradients, more, strict=True)]
            sums = {name: (sums[name][0] + more_sums[name][0], sums[name][1] + more_sums[name][1]) for name in sums}
        return gradients, sums

    def _set_seeds(self, number):
        """Gives every dropout layer its state for this step, replica and micro-batch."""
        if not self._seeds:
            return
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.cast(self.optimizer.iterations.value, tf.int64)
        parts = self.strategy.num_replicas_in_sync * self.rule.accumulate
        place = step * parts + tf.cast(replica, tf.int64) * self.rule.accumulate + tf.cast(number, tf.int64)
        states = tf.random.stateless_uniform(
            (len(self._seeds), 2), tf.stack([tf.constant(self.rule.seed, tf.int64), place]), None, None, tf.int64
        )
        for variable, state in zip(self._seeds, tf.unstack(states), strict=True):
            variable.value.assign(tf.cast(state, variable.value.dtype))

    def _gradients(self, batch, scale):
        with tf.GradientTape() as tape:
            losses_B, sums = self.objective(self.model, batch, training=True)
            loss = scale * tf.reduce_sum(losses_B * batch["weights"]) / self.rule.batch_size
        gradients = tape.gradient(loss, self._variables, unconnected_gradients="zero")
        # Relative positions are looked up, and would hand on their gradient as sparse slices.
        return [tf.convert_to_tensor(gradient) for gradient in gradients], sums


def _array(value) -> np.ndarray:
    """A copy that files can hold: NumPy's format knows no bfloat16, of which float32 loses nothing."""
    return np.array(tf.cast(value, tf.float32) if value.dtype == tf.bfloat16 else value.numpy())
