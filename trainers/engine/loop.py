"""The one training loop: n steps in the graph, everything else on the host between them."""

import dataclasses
from collections.abc import Sequence

import keras

from trainers.engine.evaluation import Evaluation
from trainers.engine.feeding import Feed, distribute
from trainers.engine.steps import Steps


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long to train, and when the host steps in. All in updates.

    Args:
        total_steps: End of training.
        evaluate_every: Length of what callbacks call an epoch.
        log_every: No call into the graph runs across a multiple of this.
        steps_per_call: Largest number of updates per call.
    """

    total_steps: int
    evaluate_every: int
    log_every: int
    steps_per_call: int

    @property
    def epochs(self) -> int:
        return -(-self.total_steps // self.evaluate_every)

    def epoch_end(self, epoch: int) -> int:
        """The step at which a callback's epoch ends."""
        return min((epoch + 1) * self.evaluate_every, self.total_steps)

    def next_count(self, step: int) -> int:
        """Updates to run in the call that starts at `step`."""
        to_log = self.log_every - step % self.log_every
        to_evaluation = self.evaluate_every - step % self.evaluate_every
        return min(self.steps_per_call, to_log, to_evaluation, self.total_steps - step)


def fit(
    steps: Steps,
    feed: Feed,
    plan: Plan,
    callbacks: Sequence[keras.callbacks.Callback],
    evaluation: Evaluation | None = None,
) -> None:
    """Trains, driving callbacks in the order of `keras.Model.fit`.

    An epoch, to callbacks, is one evaluation interval. During evaluation and `on_epoch_end` the model holds the
    averaged weights where averages are kept, so that callbacks judge and save those; afterwards training goes on from
    the raw ones. At `on_train_end` the averages are in for good.

    Args:
        steps: Graph functions of the run.
        feed: Of endless training batches, from the one of the current step on.
        plan: Length and rhythm.
        callbacks: Any Keras callbacks.
        evaluation: Of the validation split, or None.
    """
    model = steps.model
    iterator = iter(distribute(feed, steps.strategy, steps.batch_size))
    listed = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=plan.epochs, steps=plan.evaluate_every, verbose=0
    )
    model.stop_training = False
    logs: dict[str, float] = {}
    listed.on_train_begin()
    for epoch in range(steps.step // plan.evaluate_every, plan.epochs):
        listed.on_epoch_begin(epoch)
        logs = _train_epoch(steps, iterator, plan, epoch, listed)
        with steps.averaged():
            if evaluation is not None:
                logs |= {f"val_{name}": value for name, value in evaluation.run(listed).items()}
            listed.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    steps.use_averages()
    listed.on_train_end(logs)


def _train_epoch(steps, iterator, plan, epoch, listed) -> dict[str, float]:
    """One evaluation interval; returns the means over it."""
    start, end = steps.step, plan.epoch_end(epoch)
    sums: dict[str, float] = {}
    while (step := steps.step) < end and not steps.model.stop_training:
        count = plan.next_count(step)
        listed.on_train_batch_begin(step - start)
        logs = steps.train(iterator, count)
        for name, value in logs.items():
            sums[name] = sums.get(name, 0.0) + value * count
        listed.on_train_batch_end(steps.step - start - 1, logs)
    return {name: total / max(steps.step - start, 1) for name, total in sums.items()}
