"""Measures of classification, from arrays.

N examples, Y classes. Weights (N,) are 0 or 1; an example of weight 0, such as one whose image could not be read, has
no part in anything. Where nothing defines a number, as the recall of a class without examples, it is NaN, and `mean`
leaves it out.
"""

from typing import NamedTuple

import numpy as np

from keras_vit.errors import UserError


class PerClass(NamedTuple):
    """Measures of each class, (Y,).

    Args:
        precision: Share of right ones among what was taken for the class; NaN if nothing was.
        recall: Share of the class's examples that were recognised; NaN if it has none.
        f1: Harmonic mean of both; NaN if the class has no example and nothing was taken for it.
        support: The class's number of examples.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


class Confusion(NamedTuple):
    """So many examples of class `label` were taken for class `prediction`."""

    label: int
    prediction: int
    examples: int


def ranks(scores, labels) -> np.ndarray:
    """How many classes come before the true one; 0 where it is the prediction.

    Of equal scores the lower class comes first, as with `argmax` and as TensorFlow and JAX order their top k.

    Args:
        scores: (N, Y), finite.
        labels: (N,) integers in [0, Y).

    Returns:
        int64 (N,).
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    return np.count_nonzero((scores > own) | ((scores == own) & before), axis=1)


def top_k_accuracy(ranks, k: int, weights=None) -> float:
    """Share of examples whose class is among the k best.

    Args:
        ranks: As of the function of that name.
        k: At least 1; from Y on the share is 1.
        weights: 0 or 1 for each example; all 1 if left out.

    Raises:
        UserError: if no example counts.
    """
    (ranks,) = _counting(weights, ranks)
    if not len(ranks):
        raise UserError("There is no example to take the accuracy of.")
    return float(np.mean(ranks < k))


def confusion_matrix(labels, predictions, num_classes: int, weights=None) -> np.ndarray:
    """int64 (Y, Y): in row i and column j, how many examples of class i were taken for class j."""
    labels, predictions = _counting(weights, labels, predictions)
    pairs = np.asarray(labels, "int64") * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def confusions(labels, predictions, weights=None) -> list[Confusion]:
    """The entries of the confusion matrix that are not zero, the largest first. Takes no memory for the others."""
    pairs = np.stack(_counting(weights, labels, predictions), axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Confusion(int(i), int(j), int(count)) for (i, j), count in zip(found[order], counts[order], strict=True)]


def per_class(labels, predictions, num_classes: int, weights=None) -> PerClass:
    """Precision, recall, F1 and support of each class."""
    labels, predictions = _counting(weights, labels, predictions)
    right = np.bincount(labels[labels == predictions], minlength=num_classes)
    support = np.bincount(labels, minlength=num_classes)
    predicted = np.bincount(predictions, minlength=num_classes)
    return PerClass(
        _share(right, predicted),
        _share(right, support),
        _share(2 * right, support + predicted),
        support.astype("int64"),
    )


def mean(values) -> float:
    """Mean of what is not NaN; NaN if there is nothing else.

    Of the recalls it is the balanced accuracy, of the F1s the macro F1, of average precisions their mean (mAP).
    """
    values = np.asarray(values, "float64")
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def average_precision(positives, scores, weights=None) -> float:
    """Area under the curve of precision over recall, as a sum: each recall gained, times the precision there.

    No interpolation, and equal scores are one step, so that the order of examples has no say.

    Args:
        positives: (N,), not 0 for examples of the class.
        scores: (N,), finite.
        weights: 0 or 1 for each example; all 1 if left out.

    Returns:
        NaN if no example belongs to the class.
    """
    positives, scores = _counting(weights, positives, scores)
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(positives[order] != 0)
    if not len(hits) or not hits[-1]:
        return float("nan")
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    gained = np.diff(hits[ends], prepend=0)
    return float(np.sum(gained * (hits[ends] / (ends + 1))) / hits[-1])


def average_precisions(positives, scores, weights=None) -> np.ndarray:
    """`average_precision` of each class, float64 (Y,), of arrays (N, Y)."""
    positives, scores = _counting(weights, positives, scores)
    return np.array([average_precision(positives[:, y], scores[:, y]) for y in range(scores.shape[1])])


def _counting(weights, *arrays) -> tuple[np.ndarray, ...]:
    """The examples of arrays that count."""
    arrays = tuple(np.asarray(array) for array in arrays)
    if weights is None:
        return arrays
    counts = np.asarray(weights) > 0
    return tuple(array[counts] for array in arrays)


def _share(part, whole) -> np.ndarray:
    """Quotients; NaN where both are 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
