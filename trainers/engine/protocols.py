"""What a backend of the engine is: all that the loop, callbacks and everything outside may ask of one.

Averages of weights and the loss scale are a backend's own: `Steps.averaged` and the log `loss_scale` show them.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import keras
import numpy as np

from trainers.engine.trees import Tree
from trainers.engine.workers import Workers

# `feed(share, shares, rows)` returns a tf.data.Dataset: of every global batch the rows of one host (`share` of
# `shares`, in order), in batches of `rows`, which is one replica's part. With (0, 1, batch size) it yields global ones.
Feed = Callable[[int, int, int], Any]

# (model, batch, training) -> (losses (B,), {name: (sum, count)}), rows weighted by batch["weights"].
Objective = Callable[..., tuple[Any, dict[str, tuple[Any, Any]]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """How a global batch becomes an update.

    Args:
        batch_size: Size of the global batch, by which summed losses are divided.
        clip_norm: Largest global gradient norm; None or 0 for no clipping.
        accumulate: Micro-batches per replica and update.
        ema: Decay of the running averages of the trainable weights, or None for none.
        xla: Whether forward and backward pass are compiled.
        seed: Seed of dropout and stochastic depth.
        skip_nonfinite: Whether updates whose gradients are not finite are left out and counted, instead of being an
            error. The step counts all the same: it is the position in the data.
    """

    batch_size: int
    clip_norm: float | None = None
    accumulate: int = 1
    ema: float | None = None
    xla: bool = False
    seed: int = 0
    skip_nonfinite: bool = False


class Steps(Protocol):
    """The updates of one training run."""

    model: keras.Model
    optimizer: Any
    metrics: list[str]

    @property
    def step(self) -> int:
        """Updates done so far, skipped ones included."""

    @property
    def skipped(self) -> int:
        """Updates left out so far."""

    def batches(self, feed: Feed) -> Iterator[Any]:
        """The feed's batches, as `train` takes them."""

    def train(self, iterator: Iterator[Any], count: int) -> dict[str, float]:
        """Runs `count` updates and returns the means of their metrics.

        Beside the objective's: gradient_norm before clipping, input_wait, the share of time spent waiting for
        batches, skipped, the share of updates left out, and loss_scale where there is one.

        Raises:
            NotFinite: before an update whose gradients are not finite.
        """

    def averaged(self) -> AbstractContextManager[None]:
        """A context in which the model's weights are their running averages; afterwards bit for bit what they were."""

    def use_averages(self) -> None:
        """Replaces the model's weights by their running averages for good; does nothing where none are kept."""

    def state(self) -> Tree:
        """All that further updates depend on, as NumPy arrays by name."""

    def restore(self, state: Tree) -> None:
        """Takes over a state.

        Raises:
            UserError: if it is another model's or another optimizer's; nothing was taken over then.
        """


class Evaluation(Protocol):
    """An objective's metrics over one dataset, as often as they are asked for."""

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


class Runtime(Protocol):
    """Where a run takes place."""

    @property
    def reason(self) -> str:
        """Why there, in words."""

    @property
    def precision(self) -> str:
        """Name of the dtype policy for models."""

    @property
    def precision_reason(self) -> str:
        """Why that precision, in words."""

    @property
    def replicas(self) -> int:
        """Among which a global batch is divided."""

    @property
    def processes(self) -> int:
        """That train together. On TPUs it is one, that drives all hosts."""

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files and speaks to people."""

    @property
    def device_kind(self) -> str:
        """CPU, GPU or TPU."""

    @property
    def device_name(self) -> str:
        """What the maker calls it, where that is known; else its kind."""

    @property
    def local_devices(self) -> int:
        """Number of devices that this process computes on."""

    def device_memory(self) -> int | None:
        """Bytes that the smallest of them has for tensors; None where nobody says, or it is the machine's own."""

    def peak_memory(self) -> float:
        """GiB: the largest peak of a GPU, or, without one, of this process."""

    def placed(self) -> AbstractContextManager[Any]:
        """A context in which models and optimizers are made, so that their variables lie where they are trained."""

    def weight_norm(self, model: keras.Model) -> float:
        """Global norm of the trainable weights."""

    def workers(self, timeout: float) -> Workers:
        """The processes of the run; one that does not answer for so many seconds counts as lost."""

    def steps(
        self,
        model: keras.Model,
        objective: Objective,
        optimizer: Any,
        element_spec: Mapping[str, Any],
        rule: UpdateRule,
    ) -> Steps:
        """The updates of a run.

        Args:
            model: Made where variables are `placed`.
            objective: Objective that is made small.
            optimizer: Keras's, built there too; must not clip.
            element_spec: Shape and dtype of each array of a batch.
            rule: Rule by which batches become updates.
        """

    def evaluation(self, model: keras.Model, objective: Objective, feed: Feed, batch_size: int) -> Evaluation:
        """An objective's metrics over a finite feed."""

    def distribute(self, feed: Feed, batch_size: int) -> Iterable[Any]:
        """The feed's global batches, dealt out to replicas; for iterators that live for seconds."""

    def gathered(self, function: Callable[[Any], Mapping[str, Any]]) -> Callable[[Any], dict[str, np.ndarray]]:
        """A function of one of `distribute`'s batches, compiled: what `function` returns of all rows, in order.

        With several processes each gets all of it, so that all must ask.
        """
