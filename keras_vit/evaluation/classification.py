"""Measures of classification, from arrays.

N examples, Y classes. Where nothing defines a number, as the recall of a class without examples, it is NaN, and `mean`
leaves it out. Measures are scikit-learn's but for ranks, whose rule for ties it does not have.
"""

from typing import NamedTuple

import numpy as np
from sklearn import metrics

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


def top_k_accuracy(ranks, k: int) -> float:
    """Share of examples whose class is among the k best.

    Args:
        ranks: Ranks as of the function of that name.
        k: At least 1; from Y on the share is 1.

    Raises:
        UserError: if there is no example.
    """
    if not len(ranks):
        raise UserError("There is no example to take the accuracy of.")
    return float(np.mean(np.asarray(ranks) < k))


def confusions(labels, predictions) -> list[Confusion]:
    """The entries of the confusion matrix that are not zero, the largest first. Takes no memory for the others."""
    pairs, counts = np.unique(np.stack([labels, predictions], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Confusion(int(i), int(j), int(count)) for (i, j), count in zip(pairs[order], counts[order], strict=True)]


def per_class(labels, predictions, num_classes: int) -> PerClass:
    """Precision, recall, F1 and support of each class."""
    return PerClass(
        *metrics.precision_recall_fscore_support(labels, predictions, labels=range(num_classes), zero_division=np.nan)
    )


def mean(values) -> float:
    """Mean of what is not NaN; NaN if there is nothing else.

    Of the recalls it is the balanced accuracy, of the F1s the macro F1, of average precisions their mean (mAP).
    """
    values = np.asarray(values, "float64")
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def average_precisions(positives, scores) -> np.ndarray:
    """Area under the curve of precision over recall of each class: each recall gained, times the precision there.

    Args:
        positives: (N, Y), not 0 where an example is of the class.
        scores: (N, Y), finite.

    Returns:
        float64 (Y,), NaN for classes without examples.
    """
    columns = zip(np.asarray(positives).T != 0, np.asarray(scores).T, strict=True)
    return np.array([metrics.average_precision_score(*column) if column[0].any() else np.nan for column in columns])
