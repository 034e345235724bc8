"""`baselines`: classical methods on the pixels at their own size, trained on every split but the one evaluated."""

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from keras_vit.errors import UserError
from trainers.data.source import Source
from trainers.engine.protocols import Runtime
from trainers.settings.evaluation import EvaluationSettings


def measure(settings: EvaluationSettings, model, source: Source, runtime: Runtime, callbacks=()) -> dict[str, float]:
    """{method: accuracy}; what a small model has to stand beside.

    Raises:
        UserError: if the source's pixels are not in memory, or what is evaluated is not a whole split.
    """

    def arrays(split):
        images, labels = split.read(tf.range(split.size, dtype=tf.int64))
        return images.numpy().reshape(split.size, -1) / 255, labels.numpy()

    if source.name not in ("digits", "synthetic"):
        raise UserError(f"--evaluations=baselines wants raw pixels in memory: digits or synthetic, not {source.name}.")
    if settings.split not in source.splits:
        raise UserError(
            f"--evaluations=baselines wants a whole split, not {settings.split!r}: it trains on the others."
        )
    parts = [arrays(split) for name, split in source.splits.items() if name != settings.split]
    train_pixels, train_labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    pixels, labels = arrays(source.splits[settings.split])
    return {
        name: float(np.mean(make().fit(train_pixels, train_labels).predict(pixels) == labels))
        for name, make in METHODS.items()
    }


METHODS = {
    "logistic regression": lambda: LogisticRegression(max_iter=1000),
    "1-nearest neighbour": lambda: KNeighborsClassifier(n_neighbors=1),
    "RBF support vectors": lambda: SVC(C=10, gamma="scale"),
}
