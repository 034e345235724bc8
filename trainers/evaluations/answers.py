"""A model's answers to every example of a split, once each, however batches and replicas divide them."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from tqdm import tqdm

from keras_vit.errors import UserError
from trainers.engine.endings import NotFinite
from trainers.engine.protocols import Feed, Runtime

LIMIT = 4 * 2**30  # bytes of float32 answers that are kept at once


class Answers(NamedTuple):
    """A model's outputs for some examples, in the split's order; what could not be read is not among them.

    Args:
        outputs: float32 (N, D): logits or features.
        labels: (N,) integers, or float32 (N, Y), as the source has them.
        ids: int64 (N,), the examples' indices in the split.
    """

    outputs: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


def batches(
    model: Any,
    feed: Feed,
    runtime: Runtime,
    batch_size: int,
    *,
    doing: str,
    callbacks: keras.callbacks.CallbackList | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> Iterator[Answers]:
    """The answers, a global batch at a time; rows that only fill up a batch are left out, and bad images.

    With several replicas or processes each of them gets all answers, so that all must ask.

    Args:
        model: Keras model from images (B, H, W, C) to (B, D).
        feed: Feed of finite global batches, such as `EvaluationData.batches`.
        runtime: Runtime, where the model's variables are placed.
        batch_size: Global batch size.
        doing: Name of what is going on, for the bar that long work shows.
        callbacks: Callbacks told of the batches' beginnings and ends.
        after_batch: Function called after each batch, e.g. to check for bad images.

    Raises:
        NotFinite: if an output is not finite.
    """
    callbacks = callbacks or keras.callbacks.CallbackList([], model=model)
    answer = runtime.gathered(functools.partial(_answers, model))
    distributed, count = runtime.distribute(feed, batch_size), number_of_batches(feed, batch_size)
    bar = tqdm(distributed, doing, count, leave=False, unit="batch", delay=2)
    for number, batch in enumerate(bar):
        callbacks.on_test_batch_begin(number)
        answers = answer(batch)
        callbacks.on_test_batch_end(number)
        after_batch()
        counts = answers["weights"] > 0
        if not np.isfinite(answers["outputs"][counts]).all():
            raise NotFinite(f"{doing}: the model's outputs are not finite; its training has diverged.")
        yield Answers(*(answers[name][counts] for name in Answers._fields))


def number_of_batches(feed: Feed, batch_size: int) -> int:
    """Global batches of a finite feed."""
    return int(feed(0, 1, batch_size).cardinality())


def collect(answers: Iterator[Answers], rows: int) -> Answers:
    """All answers at once.

    Args:
        answers: Some at a time.
        rows: Number of rows that there may be, or more.

    Raises:
        UserError: if there are none, or they would take more memory than `LIMIT`.
    """
    first = next(answers, None)
    if first is None:
        raise UserError("There is no example to compute answers for.")
    check_memory(rows, first.outputs.shape[1])
    whole = Answers(*(np.empty((rows, *part.shape[1:]), part.dtype) for part in first))
    count = 0
    for some in itertools.chain([first], answers):
        end = count + len(some.ids)
        for target, part in zip(whole, some, strict=True):
            target[count:end] = part
        count = end
    return Answers(*(part[:count] for part in whole))


def check_memory(rows: int, columns: int) -> None:
    """Raises UserError if (rows, columns) float32 numbers would take more memory than `LIMIT`."""
    size = rows * columns * 4
    if size > LIMIT:
        raise UserError(
            f"{rows:,} examples with {columns:,} numbers each take {size / 2**30:,.1f} GiB of memory, more than "
            f"{LIMIT / 2**30:,.1f}; choose part of the split, such as test[:{LIMIT // (8 * columns)}]."
        )


def features(
    model: Any,
    feed: Feed,
    runtime: Runtime,
    batch_size: int,
    *,
    doing: str = "features",
    after_batch: Callable[[], None] = lambda: None,
) -> Answers:
    """Outputs of the layer `pre_logits` for every example, once each and in the split's order.

    Args:
        model: A model of keras_vit, with any head or none.
        feed: Feed of finite global batches, such as `EvaluationData.batches`.
        runtime: Runtime, where the model's variables are placed.
        batch_size: Global batch size.
        doing: Name of what is going on, for the bar that long work shows.
        after_batch: Function called after each batch, e.g. `source.bad.check`.

    Returns:
        `outputs`: the features, float32 (N, D); `labels`, as the source has them, and `ids`, indices in the split, with
        the same N. Images that could not be read are not among them.

    Raises:
        NotFinite: if a feature is not finite.
        UserError: if they take more memory than `LIMIT`.
    """
    body = keras.Model(model.input, model.get_layer("pre_logits").output)
    rows = number_of_batches(feed, batch_size) * batch_size
    parts = batches(body, feed, runtime, batch_size, doing=doing, after_batch=after_batch)
    return collect(parts, rows)


def _answers(model, batch):
    outputs = keras.ops.cast(model(batch["images"], training=False), "float32")
    return {"outputs": outputs, **{name: batch[name] for name in ("labels", "weights", "ids")}}
