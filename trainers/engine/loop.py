"""The one training loop: n steps in one call of the backend, everything else on the host between them."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import keras

from keras_vit.errors import UserError
from trainers.engine.callbacks import give_back, remembers, state_of, updates_behind
from trainers.engine.checkpoint import Checkpoints
from trainers.engine.endings import NotFinite, Preempted
from trainers.engine.preemption import Preemption
from trainers.engine.protocols import Evaluation, Feed, Steps
from trainers.engine.trees import Tree
from trainers.engine.workers import Workers
from trainers.files import Unwritable


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to train, and when the host steps in. All in updates.

    Args:
        total_steps: End of training.
        evaluate_every: Length of what callbacks call an epoch.
        log_every: No call of the backend runs across a multiple of this.
        steps_per_call: Largest number of updates per call.
        checkpoint_every: Between checkpoints; None for one after each evaluation.
    """

    total_steps: int
    evaluate_every: int
    log_every: int
    steps_per_call: int
    checkpoint_every: int | None = None

    @property
    def epochs(self) -> int:
        return -(-self.total_steps // self.evaluate_every)

    def epoch_end(self, epoch: int) -> int:
        """The step at which a callback's epoch ends."""
        return min((epoch + 1) * self.evaluate_every, self.total_steps)

    def next_count(self, step: int) -> int:
        """Updates to run in the call that starts at `step`."""
        rhythms = (self.log_every, self.evaluate_every, self.checkpoint_every or self.evaluate_every)
        return min(self.steps_per_call, self.total_steps - step, *(every - step % every for every in rhythms))

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is due after `step` updates."""
        return step == self.total_steps or step % (self.checkpoint_every or self.evaluate_every) == 0


@dataclasses.dataclass
class Progress:
    """Where training stands, beside what variables hold. All of it is in checkpoints.

    Args:
        epoch: Evaluation intervals finished.
        sums: Sums of the unfinished one: {metric: (sum, updates)}.
        seconds: Spent training so far.
        stopped: Whether a callback ended training.
        callbacks: State that callbacks remember, by class name.
    """

    epoch: int = 0
    sums: dict[str, tuple[float, int]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    stopped: bool = False
    callbacks: dict[str, Any] = dataclasses.field(default_factory=dict)


class Trainer:
    """Drives callbacks in the order of `keras.Model.fit`.

    An epoch, to callbacks, is one evaluation interval. During evaluation and `on_epoch_end` the model holds the
    averaged weights where averages are kept, so that callbacks judge and save those; afterwards training goes on from
    the raw ones. At `on_train_end` the averages are in for good.

    A callback with `get_state()` and `set_state(state)` is part of checkpoints; the state is a tree of plain values and
    NumPy arrays, and is handed back right after `on_train_begin`. So are those of Keras in `REMEMBERED`.

    Args:
        steps: The updates of the run.
        plan: Length and rhythm.
        callbacks: Any Keras callbacks, but for the few that contradict the engine.
        evaluation: Evaluation of the validation split, or None.
        checkpoints: Checkpoints that the chief saves; None for nowhere.
        workers: The processes of the run, by default this one alone.
        preemption: Object that signals tell to stop; by default one that nobody tells.

    Raises:
        UserError: for a callback that contradicts the engine.
    """

    # Batches between questions to the other workers, whether to leave an evaluation.
    EVALUATION_ASKS_EVERY = 8

    def __init__(
        self,
        steps: Steps,
        plan: Plan,
        callbacks: Sequence[keras.callbacks.Callback],
        evaluation: Evaluation | None = None,
        checkpoints: Checkpoints | None = None,
        workers: Workers | None = None,
        preemption: Preemption | None = None,
    ):
        check_callbacks(callbacks, steps.optimizer)
        self.steps = steps
        self.plan = plan
        self.evaluation = evaluation
        self.checkpoints = checkpoints
        self.workers = workers or Workers()
        self.progress = Progress()
        self._preemption = preemption or Preemption()
        self._calls = self._evaluated = 0
        self._callbacks = list(callbacks)
        self._listed = keras.callbacks.CallbackList(
            self._callbacks, model=steps.model, epochs=plan.epochs, steps=plan.evaluate_every, verbose=0
        )

    def restore(self, state: Tree) -> None:
        """Goes on from a checkpoint's state.

        Raises:
            UserError: if it belongs to another model, optimizer or precision.
        """
        policy, saved_policy = self.steps.model.dtype_policy.name, state["precision"]
        if policy != saved_policy:
            raise UserError(
                f"The run was begun in {saved_policy} and would go on in {policy}; give --precision={saved_policy}."
            )
        self.steps.restore(state["steps"])
        self.progress = Progress(**state["progress"])
        # Checkpoints of version 0.1 name the module of each callback's class too.
        remembered = self.progress.callbacks.items()
        self.progress.callbacks = {".".join(name.split(".")[-2:]): value for name, value in remembered}

    def fit(self, feed: Feed) -> None:
        """Trains to the end.

        Args:
            feed: Feed of endless training batches, from the one of the current step on.

        Raises:
            Preempted: after a checkpoint, when a signal asked for it.
            NotFinite: before an update whose gradients are not finite.
            WorkerLost: when another process is gone.
        """
        with self.workers.waiting("the set-up of data"):
            iterator = self.steps.batches(feed)
        self.steps.model.stop_training = self.progress.stopped
        self._begin = time.perf_counter() - self.progress.seconds
        with self._telling_of_checkpoints():
            self._listed.on_train_begin()
            for name, callback in self._stateful().items():
                if name in self.progress.callbacks:
                    give_back(callback, self.progress.callbacks[name])
            logs: dict[str, float] = {}
            # Stopped within an interval, that interval is still evaluated.
            while self.progress.epoch < self.plan.epochs and (self.progress.sums or not self.progress.stopped):
                logs = self._epoch(iterator)
            self.progress.seconds = time.perf_counter() - self._begin
        self.steps.use_averages()
        self._listed.on_train_end(logs)

    def _epoch(self, iterator) -> dict[str, float]:
        """One evaluation interval, or what is left of it; returns its logs."""
        self._listed.on_epoch_begin(self.progress.epoch)
        self._train(iterator, self.plan.epoch_end(self.progress.epoch))
        logs = {name: total / count for name, (total, count) in self.progress.sums.items()}
        try:
            with self.steps.averaged():
                logs |= self._evaluate()
                self._listed.on_epoch_end(self.progress.epoch, logs)
        except _EvaluationLeft:  # resumed, it begins again
            self._leave()
        self.progress.epoch += 1
        self.progress.sums = {}
        leaves = self._agree()
        if self.plan.saves_at(self.steps.step) or self.progress.stopped:
            self._save()
        if leaves:
            self._leave()
        return logs

    def _evaluate(self) -> dict[str, float]:
        if self.evaluation is None:
            return {}
        with self.workers.waiting("evaluation"):
            means = self.evaluation.run(self._listed, self._after_evaluating_a_batch)
        return {f"val_{name}": value for name, value in means.items()}

    def _after_evaluating_a_batch(self) -> None:
        self.workers.answered()
        self._evaluated += 1
        asks = self.workers.count == 1 or self._evaluated % self.EVALUATION_ASKS_EVERY == 0
        if asks and any(self.workers.any(self._preemption.requested)):
            raise _EvaluationLeft

    def _train(self, iterator, end: int) -> None:
        start = self.progress.epoch * self.plan.evaluate_every
        while (step := self.steps.step) < end and not self.steps.model.stop_training:
            count = self._next_count(step)
            self._listed.on_train_batch_begin(step - start)
            with self.workers.waiting("training", count):
                logs = self.steps.train(iterator, count)
            self._add(logs, count)
            step = self.steps.step
            self._listed.on_train_batch_end(step - start - 1, logs)
            leaves = self._agree()
            if step < end and self.plan.saves_at(step):
                self._save()
            if leaves:
                self._leave()

    def _next_count(self, step: int) -> int:
        """Updates in the next call. Several workers begin with single ones, to learn how long one takes."""
        self._calls += 1
        return 1 if self.workers.count > 1 and self._calls <= 3 else self.plan.next_count(step)

    def _add(self, logs: dict[str, float], count: int) -> None:
        """Adds means over `count` updates to the interval's sums."""
        for name, value in logs.items():
            if (updates := updates_behind(name, logs, count)) and not math.isnan(value):  # or it counted nothing
                total, so_far = self.progress.sums.get(name, (0.0, 0))
                self.progress.sums[name] = (total + value * updates, so_far + updates)

    def _agree(self) -> bool:
        """Brings all workers to one mind on whether training stops; returns whether it is to leave off now."""
        model = self.steps.model
        leaves, model.stop_training = self.workers.any(self._preemption.requested, bool(model.stop_training))
        self.progress.stopped = model.stop_training
        return leaves

    def _leave(self) -> None:
        """Saves and raises Preempted, on all workers."""
        step = self.steps.step
        self._save()
        if self.checkpoints is not None:
            self.checkpoints.wait()
        failed = self.checkpoints is not None and self.checkpoints.newest_step != step
        (failed,) = self.workers.any(failed)  # the others stay until the chief has written
        if failed:
            raise Unwritable(f"Asked to stop after step {step}, but no checkpoint of it could be written.")
        raise Preempted(f"stopped after step {step}; the same command goes on from there.")

    def _save(self) -> None:
        """Hands the state to the writer, on the chief."""
        if self.checkpoints is None:
            return
        self.progress.seconds = time.perf_counter() - self._begin
        self.progress.callbacks = {name: state_of(callback) for name, callback in self._stateful().items()}
        state = {
            "steps": self.steps.state(),
            "progress": dataclasses.asdict(self.progress),
            "precision": self.steps.model.dtype_policy.name,
        }
        self.checkpoints.save(self.steps.step, state)

    def _stateful(self) -> dict[str, keras.callbacks.Callback]:
        """The callbacks that remember something, by class name and number among their likes."""
        callbacks: dict[str, keras.callbacks.Callback] = {}
        for callback in self._callbacks:
            if remembers(callback):
                likes = sum(type(other).__name__ == type(callback).__name__ for other in callbacks.values())
                callbacks[f"{type(callback).__name__}.{likes}"] = callback
        return callbacks

    @contextlib.contextmanager
    def _telling_of_checkpoints(self):
        try:
            yield
        except NotFinite as error:
            if self.checkpoints is None:
                raise
            self.checkpoints.wait()
            last = self.checkpoints.newest_step
            latest = f"step {last} in {self.checkpoints.folder}" if last is not None else "none was written"
            raise NotFinite(f"{error} Last good checkpoint: {latest}.") from None


class _EvaluationLeft(Exception):
    """A signal came while evaluating."""


def check_callbacks(callbacks: Sequence[keras.callbacks.Callback], optimizer) -> None:
    """Raises UserError, with the reason, for a callback that contradicts the engine."""
    scheduled = isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule)
    for callback in callbacks:
        for name, (needs_schedule, reason) in REFUSED.items():
            if isinstance(callback, getattr(keras.callbacks, name)) and (scheduled or not needs_schedule):
                raise UserError(f"keras.callbacks.{name} cannot be used here: {reason}")


# Keras callback: whether it is only refused beside a learning-rate schedule, and why.
REFUSED = {
    "SwapEMAWeights": (
        False,
        "it swaps by adding and subtracting, so that evaluating changes the weights; use --ema, which assigns.",
    ),
    "BackupAndRestore": (False, "it restores no more than the epoch; the engine's own checkpoints restore the run."),
    "ReduceLROnPlateau": (True, "it assigns the learning rate, which a schedule computes; build without a schedule."),
    "LearningRateScheduler": (True, "it assigns the learning rate, which a schedule computes; build without one."),
}
