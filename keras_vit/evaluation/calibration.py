"""Whether probabilities mean what they say, and the one number that mends most of it (arXiv 1706.04599)."""

import math

import numpy as np
from scipy import optimize

from keras_vit.errors import UserError

# Temperatures between which the best one is looked for.
COLDEST, HOTTEST = 0.05, 20.0


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean over examples of -log p(label), of the softmax of logits over the temperature.

    Args:
        logits: (N, Y).
        labels: (N,) integers.
        temperature: Positive.
    """
    scaled_NY = np.asarray(logits, "float64") / temperature
    largest_N1 = scaled_NY.max(axis=1, keepdims=True)
    normaliser_N = np.log(np.exp(scaled_NY - largest_N1).sum(axis=1)) + largest_N1[:, 0]
    return float(np.mean(normaliser_N - scaled_NY[np.arange(len(labels)), labels]))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature under which labels are likeliest (section 4.2); accuracy does not change with it.

    The likelihood has one peak in 1 / temperature.

    Args:
        logits: (N, Y) of examples that the model was not trained on.
        labels: (N,) integers.

    Raises:
        UserError: without examples.
    """
    if not len(labels):
        raise UserError("A temperature is fitted to labelled examples; there are none.")
    ends = math.log(COLDEST), math.log(HOTTEST)
    best = optimize.minimize_scalar(
        lambda log: negative_log_likelihood(logits, labels, math.exp(log)), bounds=ends, options={"xatol": 1e-7}
    )
    return math.exp(best.x)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """How far confidence and accuracy lie apart, examples being sorted into bins of equal width (section 2, ECE).

    Args:
        probabilities: (N, Y).
        labels: (N,) integers.
        bins: Number of bins.
    """
    confidences_N = probabilities.max(axis=1)
    right_N = probabilities.argmax(axis=1) == labels
    bin_N = np.minimum((confidences_N * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_N, weights=right_N - confidences_N, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
