"""What several processes do together under tf.distribute, and how it says that one of them is gone."""

import numpy as np
import tensorflow as tf

# What tf.distribute raises in the others when a worker is gone, depending on where they were: always one of the first,
# or one of the second with one of these words. Without them it is a fault of this worker's own.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
MAYBE_LOST = (tf.errors.InternalError, tf.errors.FailedPreconditionError, tf.errors.UnknownError)
WORDS = ("collective", "peer", "remote", "connection", "coordination", "heartbeat")


class Collectives:
    """What `trainers.engine.workers` needs.

    Args:
        strategy: tf.distribute strategy of all processes.
        count: Number of them.
        is_chief: Whether this is the one that writes files.
    """

    def __init__(self, strategy: tf.distribute.Strategy, count: int, is_chief: bool):
        self.strategy = strategy
        self.count = count
        self.is_chief = is_chief

    def any(self, flags: tuple[bool, ...]) -> tuple[bool, ...]:
        """By a sum over all replicas."""
        return tuple((self._sum(tf.constant(flags, tf.float32)).numpy() > 0).tolist())

    def broadcast(self, worker: int, array: np.ndarray) -> np.ndarray:
        """A sum to which only the first replica of one worker adds something."""
        first = worker * self.strategy.num_replicas_in_sync // self.count

        def part():
            is_first = tf.distribute.get_replica_context().replica_id_in_sync_group == first
            return tf.constant(array) if is_first else tf.zeros(array.shape, array.dtype)

        return tf.function(lambda: self._reduced(part))().numpy()

    def gone(self, error: Exception) -> str | None:
        """None for what is no sign of a lost worker."""
        if not isinstance(error, (*LOST, *MAYBE_LOST)):
            return None
        if isinstance(error, MAYBE_LOST) and not any(word in error.message.lower() for word in WORDS):
            return None
        return str(error.message).partition("\n")[0][:200]

    @tf.function(reduce_retracing=True)
    def _sum(self, values):
        return self._reduced(lambda: values)

    def _reduced(self, part):
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(part), axis=None)
