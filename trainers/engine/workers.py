"""Several processes as one run: what they agree on, and what happens when one of them is lost."""

import contextlib
import os
import sys
import threading
import time

import numpy as np
import tensorflow as tf

from trainers.engine.checkpoint import Tree, array_specs, put_together, take_apart

# What tf.distribute raises in the others when a worker is gone, depending on where they were.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
)


class WorkerLost(RuntimeError):
    """Another worker died or does not answer."""

    exit_code = 4


class Workers:
    """The processes of a run, of which this is one.

    Args:
        strategy: tf.distribute strategy.
        count: Number of processes.
        is_chief: Whether this is the one that writes files.
        timeout: Seconds without an answer after which another worker counts as lost.
    """

    # The first call of each kind traces and compiles, on every worker at its own pace.
    FIRST_CALL = 900.0

    def __init__(self, strategy, count: int = 1, is_chief: bool = True, timeout: float = 600.0):
        self.strategy = strategy
        self.count = count
        self.is_chief = is_chief
        self.timeout = timeout
        self._deadline = float("inf")
        self._what = ""
        self._known: set[str] = set()
        if count > 1:
            threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def waiting(self, what: str):
        """Around what needs all workers.

        Args:
            what: Kind of work, for the message.

        Raises:
            WorkerLost: instead of what tf.distribute raises when a worker is gone. Where one only does not answer,
                nothing can be raised, since this process is stuck in a collective: then it ends with the same message.
        """
        if self.count == 1:
            yield
            return
        self._what = what
        self.answered()
        try:
            yield
        except LOST as error:
            cause = str(error.message).partition("\n")[0][:200]
            raise WorkerLost(_advice(f"A worker was lost during {what} ({cause})")) from error
        finally:
            self._deadline = float("inf")
        self._known.add(what)

    def answered(self) -> None:
        """Within `waiting`: the others were heard of."""
        if self.count > 1:
            patience = self.timeout if self._what in self._known else max(self.timeout, self.FIRST_CALL)
            self._deadline = time.monotonic() + patience

    def any(self, flag: bool) -> bool:
        """Whether the flag is true on any worker; all must ask."""
        if self.count == 1:
            return flag
        with self.waiting("agreement"):
            return bool(self._sum(tf.constant(float(flag))).numpy() > 0)

    def from_chief(self, tree: Tree) -> Tree:
        """The chief's tree of plain values and NumPy arrays; all must ask, the others with anything."""
        if self.count == 1:
            return tree
        state, arrays = take_apart(tree)
        with self.waiting("broadcast"):
            length = self._broadcast(np.array(len(state), "int64"))
            numbers = np.resize(np.frombuffer(state, "uint8").astype("int32"), length)
            state = self._broadcast(numbers).astype("uint8").tobytes()
            if not self.is_chief:
                arrays = [np.zeros(shape, dtype) for dtype, shape in array_specs(state)]
            return put_together(state, [self._broadcast(array) for array in arrays])

    def _broadcast(self, array: np.ndarray) -> np.ndarray:
        """A sum to which only the chief's first replica adds something."""

        def part():
            is_first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            return tf.constant(array) if is_first else tf.zeros(array.shape, array.dtype)

        total = tf.function(
            lambda: self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(part), axis=None)
        )
        return total().numpy()

    @tf.function(reduce_retracing=True)
    def _sum(self, value):
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: value), axis=None)

    def _watch(self):
        while True:
            time.sleep(0.2)
            if time.monotonic() > self._deadline:
                message = _advice(f"No answer from another worker for {self.timeout:g} s during {self._what}")
                print(f"error: {message}", file=sys.stderr, flush=True)
                os._exit(WorkerLost.exit_code)


def _advice(what: str) -> str:
    return f"{what}. Stop all workers and start them again: they go on from the last checkpoint."
