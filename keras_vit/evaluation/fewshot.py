"""The paper's few-shot linear evaluation: ridge regression on frozen features, in closed form.

"Regularised least squares on frozen features to {-1, 1}^K targets" (paper, section 4.1); the constants are those of the
authors' code. Arithmetic is in float64, because the ridge is small beside the constant column.
"""

import numpy as np

from keras_vit.errors import UserError

# Of the column that makes the bias: large, so that the ridge hardly regularises it.
CONSTANT = 100.0
# Added to the standard deviations, as dead features have none.
EPSILON = 1e-5


def scores(train_features, train_labels, test_features, num_classes: int, l2: float = 1024.0) -> np.ndarray:
    """Scores of test examples for each class, of the regression on whitened training features.

    Args:
        train_features: (N, D).
        train_labels: (N,) integers in [0, num_classes).
        test_features: (M, D).
        num_classes: Y.
        l2: The ridge.

    Returns:
        float64 (M, Y); the largest of a row is the prediction.

    Raises:
        UserError: if the shapes do not fit, or a label is out of range.
    """
    train, test = (np.asarray(features, "float64") for features in (train_features, test_features))
    labels = np.asarray(train_labels)
    _check(train, labels, test, num_classes)
    mean, deviation = train.mean(axis=0), train.std(axis=0) + EPSILON
    train, test = (_with_constant((features - mean) / deviation) for features in (train, test))
    targets = 2.0 * (labels[:, None] == np.arange(num_classes)) - 1.0
    return test @ _ridge(train, targets, l2)


def accuracy(train_features, train_labels, test_features, test_labels, num_classes: int, l2: float = 1024.0) -> float:
    """Share of test examples whose largest score is that of their class; arguments and errors as of `scores`."""
    predicted = scores(train_features, train_labels, test_features, num_classes, l2).argmax(axis=1)
    return float(np.mean(predicted == np.asarray(test_labels)))


def choose(labels, shots: int, seed: int) -> np.ndarray:
    """Indices of `shots` examples of each class, fewer where there are not so many; classes in ascending order.

    Args:
        labels: (N,) integers.
        shots: Examples of each class.
        seed: Seed of the choice.
    """
    labels = np.asarray(labels)
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(np.flatnonzero(labels == label))[:shots] for label in np.unique(labels)])


def _ridge(features, targets, l2: float) -> np.ndarray:
    """(D, Y) minimiser of |X W - T|^2 + l2 |W|^2, by the smaller of the two systems that give it."""
    examples, width = features.shape
    if examples >= width:
        return np.linalg.solve(features.T @ features + l2 * np.eye(width), features.T @ targets)
    return features.T @ np.linalg.solve(features @ features.T + l2 * np.eye(examples), targets)


def _with_constant(features) -> np.ndarray:
    return np.concatenate([features, np.full((len(features), 1), CONSTANT)], axis=1)


def _check(train, labels, test, num_classes: int) -> None:
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or labels.shape != (len(train),):
        raise UserError(
            "Expected train_features (N, D), train_labels (N,) and test_features (M, D); got "
            f"{train.shape}, {labels.shape} and {test.shape}."
        )
    if not len(train):
        raise UserError("There is no training example to learn from.")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(f"Labels must be integers in [0, {num_classes}); got {labels.dtype} {labels[:5]}.")
