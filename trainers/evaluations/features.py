"""Features of images: what the head of a model sees, on which few-shot probes and baselines are fitted."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainers.engine.tensorflow.feeding import Feed
from trainers.evaluations import answers
from trainers.evaluations.answers import Answers


def features(
    model: Any,
    feed: Feed,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    *,
    doing: str = "features",
    after_batch: Callable[[], None] = lambda: None,
) -> Answers:
    """Outputs of the layer `pre_logits` for every example, once each and in the split's order.

    Args:
        model: A model of keras_vit, with any head or none.
        feed: Of finite global batches, such as `EvaluationData.batches`.
        strategy: Whose variables the model has.
        batch_size: Global batch size.
        doing: What is going on, for the bar that long work shows.
        after_batch: Called after each batch, e.g. `source.bad.check`.

    Returns:
        `outputs`: the features, float32 (N, D); `labels`, as the source has them, and `ids`, indices in the split, with
        the same N. Images that could not be read are not among them.

    Raises:
        NotFinite: if a feature is not finite.
        UserError: if they take more memory than `answers.LIMIT`.
    """
    body = keras.Model(model.input, model.get_layer("pre_logits").output)
    rows = answers.number_of_batches(feed, batch_size) * batch_size
    found = answers.batches(body, feed, strategy, batch_size, doing=doing, after_batch=after_batch)
    return answers.kept(found, rows)
