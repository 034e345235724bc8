"""What an exported model answers: from logits to probabilities and the best classes, in the graph."""

import dataclasses
import math

import tensorflow as tf

from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError

SIGNATURE = "serving_default"  # that answers, of every exported file
MAIN = ("probabilities", "features")  # output of a model with a head, and of one without


def main_output(model: ImageClassifier) -> str:
    """What a model answers before anything else."""
    return MAIN[0] if model.architecture.num_classes else MAIN[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answering:
    """How logits become an answer. It travels inside every exported file.

    Args:
        probabilities: Key of `PROBABILITIES`: `softmax` where an image has exactly one class, `sigmoid` where each
            class is a question of its own.
        temperature: Number that logits are divided by before; above 1 it makes a model less sure (arXiv 1706.04599,
            section 4.2).
        top: Number of the best classes that are named, at most.

    Raises:
        UserError: for values outside these.
    """

    probabilities: str = "softmax"
    temperature: float = 1.0
    top: int = 5

    def __post_init__(self):
        if self.probabilities not in PROBABILITIES:
            raise UserError(f"Unknown probabilities {self.probabilities!r}; choose one of {', '.join(PROBABILITIES)}.")
        if not 0 < self.temperature < math.inf:
            raise UserError(f"The temperature must be positive; got {self.temperature!r}.")
        if self.top < 1:
            raise UserError(f"At least one of the best classes must be named; got top={self.top!r}.")

    def probabilities_of(self, logits_BY):
        """(B, Y) float32."""
        return PROBABILITIES[self.probabilities](tf.cast(logits_BY, tf.float32) / self.temperature)

    def answers(self, logits_BY, labels: list[str]) -> dict[str, tf.Tensor]:
        """Probabilities of all classes, and the best of them by number and name, the best first.

        Args:
            logits_BY: (B, Y).
            labels: Y names.

        Returns:
            `probabilities` (B, Y), and `top_indices` int32, `top_labels` string, `top_probabilities`, all (B, k) with k
            being `top` or, where there are fewer classes, their number.
        """
        probabilities_BY = self.probabilities_of(logits_BY)
        values_BK, indices_BK = tf.math.top_k(probabilities_BY, min(self.top, len(labels)))
        return {
            "probabilities": probabilities_BY,
            "top_indices": indices_BK,
            "top_labels": tf.gather(tf.constant(labels), indices_BK),
            "top_probabilities": values_BK,
        }


PROBABILITIES = {"softmax": tf.nn.softmax, "sigmoid": tf.math.sigmoid}
