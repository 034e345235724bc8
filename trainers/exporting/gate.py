"""Whether a file says what its model says, on the same encoded images."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError
from keras_vit.export import description
from keras_vit.export.answering import Answering

# Logits are told from probabilities, of which no one tells those below this apart: their temperature may be lower, down
# to where float32 ends. Sigmoids near 1 are 6e-8 apart, so that one logit is not told from another above 1 - CEILING.
FLOOR, LOWEST, CEILING = 1e-6, 1e-37, 5e-4
ROUNDING = 1e-9  # of shares that are subtracted


class Limit(NamedTuple):
    """How far a file may lie from its model.

    Args:
        difference: Difference of logits at most; of features in shares of their standard deviation.
        agreement: Share of images with the same best class, at least.
        accuracy: Accuracy that it may lose, in shares, where there are labels.
    """

    difference: float
    agreement: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Finding:
    """How a file compares.

    Args:
        difference: The largest of any logit; of features, in shares of their standard deviation.
        agreement: Share of images with the same best class; None without a head.
        accuracy: Accuracy of the file; None without labels.
        model_accuracy: Accuracy of the model on the same images.
    """

    difference: float
    agreement: float | None = None
    accuracy: float | None = None
    model_accuracy: float | None = None

    def faults(self, limit: Limit) -> list[str]:
        """What goes beyond a limit, in words with both numbers; nothing if it passes."""
        faults = []
        if not self.difference <= limit.difference:  # so that NaN fails too
            faults.append(f"differs by {self.difference:.3g}, more than the {limit.difference:g} allowed")
        if self.agreement is not None and self.agreement < limit.agreement:
            faults.append(
                f"has the same best class for {100 * self.agreement:.1f} % of the images, fewer than the "
                f"{100 * limit.agreement:g} % asked for"
            )
        if self.accuracy is not None and self.model_accuracy is not None:
            lost = self.model_accuracy - self.accuracy
            if lost > limit.accuracy + ROUNDING:
                faults.append(
                    f"loses {100 * lost:.2f} points of accuracy, more than the {100 * limit.accuracy:g} allowed"
                )
        return faults


def compare(
    expected: np.ndarray, answers: np.ndarray, labels: np.ndarray | None, answering: Answering | None
) -> Finding:
    """How a file's answers compare with the model's.

    Args:
        expected: (N, Y) probabilities of the model, or features (N, D).
        answers: Answers of the file, likewise.
        labels: (N,), -1 for none, or None.
        answering: Rule by which logits became probabilities; None for features.
    """
    if expected.shape != answers.shape:
        return Finding(float("inf"))
    if answering is None:
        return Finding(_largest(expected - answers) / (float(expected.std()) or 1.0))
    agreement = float(np.mean(expected.argmax(axis=1) == answers.argmax(axis=1)))
    difference = _largest(logits_of(expected, answering) - logits_of(answers, answering))
    known = labels is not None and labels >= 0
    if labels is None or not np.any(known):
        return Finding(difference, agreement)
    accuracies = [float(np.mean(part[known].argmax(axis=1) == labels[known])) for part in (answers, expected)]
    return Finding(difference, agreement, *accuracies)


def check_labels(labels: Sequence[str], model: ImageClassifier) -> None:
    """Raises UserError if labels are not those of a model's classes, in their order."""
    wanted = description.lines_of(model)
    if list(labels) != wanted:
        pairs = enumerate(itertools.zip_longest(labels, wanted))
        number, (label, expected) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
        raise UserError(f"its label of class {number} is {label!r}, the model's {expected!r}")


def check_best(outputs: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Raises UserError if the best classes of an answer are not those of its probabilities, by number and name."""
    if "probabilities" not in outputs:
        return
    indices = outputs["top_indices"]
    best_probabilities = np.take_along_axis(outputs["probabilities"], indices, axis=1)
    best = -np.sort(-outputs["probabilities"], axis=1)[:, : indices.shape[1]]
    names = [[name.decode() for name in row] for row in outputs["top_labels"]]
    if not np.array_equal(best_probabilities, best) or not np.array_equal(outputs["top_probabilities"], best):
        raise UserError("its best classes are not those of its probabilities")
    if names != labels[indices].tolist():
        raise UserError("its names of the best classes are not the model's")


def logits_of(probabilities: np.ndarray, answering: Answering) -> np.ndarray:
    """Logits from probabilities (N, Y): of a softmax up to a constant per image, here so that they sum to one."""
    floor = max(FLOOR ** (1 / min(answering.temperature, 1.0)), LOWEST)
    clipped = np.clip(np.asarray(probabilities, "float64"), floor, 1.0)
    if answering.probabilities == "sigmoid":
        clipped = np.minimum(clipped, 1 - CEILING)
        return answering.temperature * (np.log(clipped) - np.log1p(-clipped))
    return answering.temperature * np.log(clipped)


def plain(finding: Finding) -> dict[str, Any]:
    """JSON values; what is not finite as text."""
    values = dataclasses.asdict(finding)
    return {
        name: str(value) if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in values.items()
    }


def _largest(difference: np.ndarray) -> float:
    """The largest absolute value; NaN where there is one."""
    return float(np.max(np.abs(difference), initial=0.0))
