"""What a model says of a split's examples: predictions, or scores of all classes where an example may have several."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_vit.evaluation import classification
from trainers.engine.protocols import Feed, Runtime
from trainers.evaluations import answers


class Predictions(NamedTuple):
    """Of N examples with one class each; what could not be read, or has no label, is not among them.

    Args:
        labels: int32 (N,). Where labels are shares of classes, the best of those with the largest share.
        predictions: int32 (N,), the best classes.
        ranks: int32 (N,): how many classes come before the label's, 0 for a right prediction.
        ids: int64 (N,), indices in the split, ascending.
    """

    labels: np.ndarray
    predictions: np.ndarray
    ranks: np.ndarray
    ids: np.ndarray


class Scores(NamedTuple):
    """Of N examples that may have several of Y classes.

    Args:
        positives: bool (N, Y).
        scores: float32 (N, Y), logits.
    """

    positives: np.ndarray
    scores: np.ndarray


def predict(
    model: Any,
    feed: Feed,
    runtime: Runtime,
    batch_size: int,
    *,
    callbacks: keras.callbacks.CallbackList | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> Predictions:
    """The model's predictions. Four integers for each example are kept, whatever the number of classes.

    Args:
        model: A model of keras_vit, for as many classes as the source has.
        feed: Feed of finite global batches, such as `EvaluationData.batches`.
        runtime: Runtime, where the model's variables are placed.
        batch_size: Global batch size.
        callbacks: Callbacks told of the batches' beginnings and ends.
        after_batch: Function called after each batch, e.g. `source.bad.check`.

    Raises:
        NotFinite: if a logit is not finite.
    """
    batches = answers.batches(
        model, feed, runtime, batch_size, doing="evaluating", callbacks=callbacks, after_batch=after_batch
    )
    parts = [_of_batch(batch) for batch in batches]
    return Predictions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def scores(
    model: Any,
    feed: Feed,
    runtime: Runtime,
    batch_size: int,
    *,
    callbacks: keras.callbacks.CallbackList | None = None,
    after_batch: Callable[[], None] = lambda: None,
) -> Scores:
    """The model's logits, for average precision. Arguments and errors as of `predict`.

    Raises:
        UserError: if they take more memory than `answers.LIMIT`.
    """
    batches = answers.batches(
        model, feed, runtime, batch_size, doing="evaluating", callbacks=callbacks, after_batch=after_batch
    )
    rows = answers.number_of_batches(feed, batch_size) * batch_size
    logits, labels, _ = answers.collect((batch._replace(labels=batch.labels > 0) for batch in batches), rows)
    return Scores(labels, logits)


def _of_batch(batch: answers.Answers) -> Predictions:
    shares = batch.labels.ndim == 2
    # TensorFlow Datasets has -1 where there is no label.
    labelled = (batch.labels > 0).any(axis=1) if shares else batch.labels >= 0
    logits, labels, ids = (part[labelled] for part in batch)
    if shares:
        largest = labels == labels.max(axis=1, keepdims=True, initial=0)
        labels = np.where(largest, logits, -np.inf).argmax(axis=1)
    ranks = classification.ranks(logits, labels)
    return Predictions(labels.astype("int32"), logits.argmax(axis=1).astype("int32"), ranks.astype("int32"), ids)
