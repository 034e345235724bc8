"""What classical methods reach on the same split: the table a small model has to stand beside."""

import numpy as np


def scores(train_pixels, train_labels, test_pixels, test_labels) -> dict[str, float]:
    """Test accuracy of each classifier of `BASELINES`, trained on pixels.

    Args:
        train_pixels: (N, ...) values of any range; flattened and scaled by the largest.
        train_labels: (N,) ints.
        test_pixels: (M, ...).
        test_labels: (M,) ints.

    Returns:
        {name: accuracy in [0, 1]}.
    """
    largest = max(float(np.max(train_pixels)), 1e-12)
    train = np.reshape(train_pixels, (len(train_pixels), -1)) / largest
    test = np.reshape(test_pixels, (len(test_pixels), -1)) / largest
    return {
        name: float(np.mean(make().fit(train, train_labels).predict(test) == test_labels))
        for name, make in BASELINES.items()
    }


def _logistic_regression():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)


def _nearest_neighbour():
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(n_neighbors=1)


def _support_vectors():
    from sklearn.svm import SVC

    return SVC(C=10, gamma="scale")


BASELINES = {
    "logistic regression": _logistic_regression,
    "1-nearest neighbour": _nearest_neighbour,
    "RBF support vectors": _support_vectors,
}
