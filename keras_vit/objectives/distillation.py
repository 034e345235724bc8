"""The objective of distillation (DeiT, arXiv 2012.12877, section 3): learn the labels, and what a teacher answers.

Called as those of `keras_vit.objectives.classification`, with the same kind of answer and one metric more: `agreement`,
the share of examples of which student and teacher have the same class. The model returns logits (B, Y), or, with a
head for each of the two, {"labels": (B, Y), "teacher": (B, Y)}, whose mean is then its answer.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_vit.errors import UserError
from keras_vit.objectives.classification import metric_sums, smoothed, targets


@dataclasses.dataclass(frozen=True)
class Distillation:
    """(1 - share) times the cross-entropy with the labels, plus share times a loss against the teacher.

    Args:
        num_classes: Y.
        teacher: Function from images as the student takes them, augmented as they are, to logits (B, Y); nothing is
            learned there.
        kind: Key of `DISTILLATIONS`.
        label_smoothing: Smoothing of the labels; the teacher's answers are taken as they are (section 3).
        share: Share of the teacher; None for the kind's own.
        temperature: Temperature that softens both answers; None for the kind's own.

    Raises:
        UserError: for an unknown kind, a share outside (0, 1], or a temperature that is not positive or not for this
            kind.
    """

    num_classes: int
    teacher: Callable[[Any], Any]
    kind: str = "hard"
    label_smoothing: float = 0.0
    share: float | None = None
    temperature: float | None = None

    def __post_init__(self):
        if self.kind not in DISTILLATIONS:
            raise UserError(f"Unknown distillation {self.kind!r}; choose one of {', '.join(DISTILLATIONS)}.")
        row = DISTILLATIONS[self.kind]
        if self.temperature is not None and row.temperature is None:
            raise UserError(f"{self.kind} distillation has no temperature; got {self.temperature}.")
        share, temperature = self._settled()
        if not 0 < share <= 1:
            raise UserError(f"share must lie in (0, 1]; got {share}.")
        if temperature is not None and not temperature > 0:
            raise UserError(f"temperature must be positive; got {temperature}.")

    def __call__(self, model, batch, training=False):
        outputs = model(batch["images"], training=training)
        heads = outputs if isinstance(outputs, dict) else {"labels": outputs, "teacher": outputs}
        labels_BY, distilled_BY = (ops.cast(heads[name], "float32") for name in ("labels", "teacher"))
        teacher_BY = ops.stop_gradient(ops.cast(self.teacher(batch["images"]), "float32"))

        share, temperature = self._settled()
        targets_BY = targets(batch["labels"], self.num_classes)
        given_B = cross_entropy(smoothed(targets_BY, self.label_smoothing), labels_BY)
        taught_B = DISTILLATIONS[self.kind].losses(distilled_BY, teacher_BY, temperature)
        losses_B = (1 - share) * given_B + share * taught_B

        answer_BY, weights_B = (labels_BY + distilled_BY) / 2, batch["weights"]
        same_B = ops.cast(ops.equal(ops.argmax(answer_BY, axis=-1), ops.argmax(teacher_BY, axis=-1)), "float32")
        agreement = {"agreement": (ops.sum(same_B * weights_B), ops.sum(weights_B))}
        return losses_B, metric_sums(losses_B, answer_BY, targets_BY, weights_B) | agreement

    def _settled(self):
        """Share and temperature, the kind's own where none were given."""
        row = DISTILLATIONS[self.kind]
        return (
            row.share if self.share is None else self.share,
            row.temperature if self.temperature is None else self.temperature,
        )


def cross_entropy(targets_BY, logits_BY):
    """(B,)."""
    return -ops.sum(targets_BY * ops.log_softmax(logits_BY), axis=-1)


def _hard(logits_BY, teacher_BY, temperature):
    """Equation 3: the teacher's class is a label like another."""
    return cross_entropy(ops.one_hot(ops.argmax(teacher_BY, axis=-1), teacher_BY.shape[-1]), logits_BY)


def _soft(logits_BY, teacher_BY, temperature):
    """Equation 2: the divergence of the student's distribution from the teacher's, both softened.

    The equation names the student first. Its code, and Hinton et al. (arXiv 1503.02531, section 2), whom it follows,
    take the mean over the teacher's distribution, which is KL(teacher || student), as here. The square of the
    temperature makes up for gradients that shrink with it. The code divides by the number of classes as well, the
    equation does not.
    """
    taught_BY = ops.log_softmax(teacher_BY / temperature)
    learned_BY = ops.log_softmax(logits_BY / temperature)
    return temperature**2 * ops.sum(ops.exp(taught_BY) * (taught_BY - learned_BY), axis=-1)


class Kind(NamedTuple):
    """One row of `DISTILLATIONS`.

    Args:
        losses: Function of logits (B, Y), the teacher's (B, Y) and the temperature: (B,).
        share: Share of the teacher, usually.
        temperature: Usual temperature; None where there is none.
    """

    losses: Callable[[Any, Any, float | None], Any]
    share: float
    temperature: float | None = None


# What DeiT trained best with first; shares and temperature are the paper's (section 3, table 9).
DISTILLATIONS = {
    "hard": Kind(_hard, share=0.5),
    "soft": Kind(_soft, share=0.1, temperature=3.0),
}
