"""Several processes as one run: what they agree on, and what happens when one of them is lost."""

import contextlib
import dataclasses
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from keras_vit.errors import UserError
from trainers.engine.endings import WorkerLost
from trainers.engine.trees import Tree, array_specs, flatten, unflatten


class Collectives(Protocol):
    """What a backend does among processes; all must take part in each."""

    @property
    def count(self) -> int:
        """Number of processes."""

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that writes files."""

    def any(self, flags: tuple[bool, ...]) -> tuple[bool, ...]:
        """Of each flag, whether it is true in any process."""

    def broadcast(self, worker: int, array: np.ndarray) -> np.ndarray:
        """One process's array; the others give any of its shape and dtype."""

    def gone(self, error: Exception) -> str | None:
        """What an error says of a process that is gone; None where it is a fault of this one's own."""


@dataclasses.dataclass
class _Wait:
    """What this process is waiting in, and since when it has not heard of the others."""

    what: str
    units: int
    at_least: float = 0.0  # seconds of patience, because of what this wait is part of
    begin: float = 0.0


class Workers:
    """The processes of a run, of which this is one.

    Everything that needs all of them goes through here, so that a lost one is noticed.

    Args:
        collectives: Operations that they do together; None where this process is alone.
        timeout: Seconds without an answer after which another worker counts as lost.
    """

    # The first call of each kind traces and compiles, on every worker at its own pace.
    FIRST_CALL = 900.0

    def __init__(self, collectives: Collectives | None = None, timeout: float = 600.0):
        self._collectives = collectives
        self.count = collectives.count if collectives else 1
        self.is_chief = collectives is None or collectives.is_chief
        self.timeout = timeout
        self._deadline = float("inf")
        self._patience = timeout
        self._wait: _Wait | None = None
        self._slowest: dict[str, float] = {}  # most seconds that a unit of each kind took, but for the first time
        if self.count > 1:
            threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def waiting(self, what: str, units: int = 1):
        """Around what needs all workers.

        Args:
            what: Kind of work, for the message.
            units: Amount of it, so that more may take longer.

        Raises:
            WorkerLost: instead of what the backend raises when a worker is gone. Where one only does not answer,
                nothing can be raised, since this process is stuck in a collective: then it ends with the same message.
        """
        if self._collectives is None:
            yield
            return
        outer = self._wait
        self._wait = _Wait(what, units, self._patience if outer else 0.0)
        self._set_deadline()
        try:
            yield
            self.answered()
        except Exception as error:
            cause = self._collectives.gone(error)
            if cause is None:
                raise
            raise WorkerLost(_advice(f"A worker was lost during {what} ({cause})")) from error
        finally:
            self._wait = outer
            self._set_deadline()

    def answered(self) -> None:
        """Within `waiting`: the others were heard of."""
        if self._wait is not None:
            what, seconds = self._wait.what, (time.monotonic() - self._wait.begin) / self._wait.units
            # The first time, which traces and compiles, tells nothing.
            self._slowest[what] = max(self._slowest[what], seconds) if what in self._slowest else 0.0
            self._set_deadline()

    def _set_deadline(self) -> None:
        if self._wait is None:
            self._deadline = float("inf")
            return
        slowest = self._slowest.get(self._wait.what)
        # Three times what it took before: a call of many slow updates is no hung worker.
        usual = self.FIRST_CALL if slowest is None else 3 * slowest * self._wait.units
        self._patience = max(self.timeout, usual, self._wait.at_least)
        self._wait.begin = time.monotonic()
        self._deadline = self._wait.begin + self._patience

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether it is true on any worker; all must ask.

        Raises:
            WorkerLost: when another worker is gone.
        """
        if self._collectives is None:
            return flags
        with self.waiting("agreement"):
            return self._collectives.any(flags)

    def on_chief(self, function: Callable[[], Tree]) -> Tree:
        """What the function returns on the chief, where alone it is called; all must ask.

        Raises:
            UserError: everywhere, with the same words, if the function raises one on the chief.
            WorkerLost: when another worker is gone.
        """
        outcome: dict[str, Tree] = {}
        if self.is_chief:
            try:
                outcome = {"value": function()}
            except UserError as error:
                if self.count == 1:
                    raise
                outcome = {"error": str(error)}
        outcome = self.from_chief(outcome)
        if "error" in outcome:
            raise UserError(outcome["error"])
        return outcome["value"]

    def agree(self, what: str, value: str) -> None:
        """Raises UserError on all workers if the value is not the same on all."""
        chiefs = self.from_chief(value)
        (differ,) = self.any(value != chiefs)
        if differ:
            raise UserError(f"Workers were started with different {what}; here: {value}; on the chief: {chiefs}.")

    def from_chief(self, tree: Tree) -> Tree:
        """The chief's tree of plain values and NumPy arrays; all must ask, the others with anything."""
        return self._from(0, tree)

    def gather(self, tree: Tree) -> list[Tree]:
        """Every worker's tree of plain values and NumPy arrays, the chief's first; all must ask."""
        return [self._from(number, tree) for number in range(self.count)]

    def _from(self, worker: int, tree: Tree) -> Tree:
        if self._collectives is None:
            return tree
        broadcast = functools.partial(self._collectives.broadcast, worker)
        state, arrays = flatten(tree)
        with self.waiting("broadcast"):
            length = int(broadcast(np.array(len(state), "int64")))
            numbers = np.resize(np.frombuffer(state, "uint8").astype("int32"), length)
            shared = broadcast(numbers).astype("uint8").tobytes()
            if shared != state:  # this worker's arrays are of other shapes
                arrays = [np.zeros(shape, dtype) for dtype, shape in array_specs(shared)]
            return unflatten(shared, [broadcast(array) for array in arrays])

    def _watch(self):
        while True:
            time.sleep(0.2)
            if time.monotonic() > self._deadline:
                message = _advice(f"No answer from another worker for {self._patience:.0f} s")
                print(f"error: {message}", file=sys.stderr, flush=True)
                os._exit(WorkerLost.exit_code)


def _advice(what: str) -> str:
    return f"{what}. Stop all workers and start them again: they go on from the last checkpoint."
