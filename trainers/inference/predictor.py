"""What answers for images, in whatever form the model is and whatever runs it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Unreadable(NamedTuple):
    """Instead of an answer, why there is none."""

    reason: str


Answers = list[np.ndarray | Unreadable]
Answer = Callable[[Sequence[bytes]], Answers]


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A model that answers for encoded images: JPEG, PNG, GIF, BMP or WebP of any size.

    Args:
        runtime: Runtime that runs it, for people.
        output: Name of what it answers, of `answering.MAIN`: `probabilities` (Y,) or `features` (D,), the head's input.
        labels: Y names, or numbers of classes that have none; empty without a head. Of a server, names come in with
            its answers.
        answer: Answer to each image, float32; or `Unreadable`, which takes no other image with it.
        notes: Lines that its user should see.
    """

    runtime: str
    output: str
    labels: Sequence[str]
    answer: Answer
    notes: tuple[str, ...] = ()


def apart(answer: Answer, encoded: Sequence[bytes], refusal: type[Exception], reason: Callable[[Any], str]) -> Answers:
    """Answers of what refuses all images for the sake of one: halves are asked again until the bad ones are alone.

    Args:
        answer: Function that may raise `refusal`.
        encoded: The images.
        refusal: Exception that it raises if an image cannot be read.
        reason: Function from that to a few words.
    """
    try:
        return answer(encoded) if encoded else []
    except refusal as error:
        if len(encoded) == 1:
            return [Unreadable(reason(error))]
    middle = len(encoded) // 2
    return [one for half in (encoded[:middle], encoded[middle:]) for one in apart(answer, half, refusal, reason)]
