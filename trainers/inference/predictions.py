"""What a model says of files, some at a time."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError
from trainers.inference import image_files
from trainers.inference.predictor import Predictor, Unreadable
from trainers.inference.server import ServerFailed


@dataclasses.dataclass(frozen=True)
class Guess:
    """One of the best classes.

    Args:
        label: Its name, or its number where it has none.
        index: Its number.
        probability: Probability of it.
    """

    label: str
    index: int
    probability: float


class Prediction(NamedTuple):
    """What a model says of one file; exactly one of the last three is there.

    Args:
        file: Its path.
        top: The best classes, the best first.
        features: float32 (D,), of a model without a head.
        error: Reason why there is no answer.
    """

    file: str
    top: tuple[Guess, ...] = ()
    features: np.ndarray | None = None
    error: str | None = None


def of_files(
    predictor: Predictor, named: Mapping[str, Unreadable | None], top: int, batch_size: int
) -> Iterator[Prediction]:
    """A prediction for each file, in order; a bar shows on a terminal if it takes long.

    Where a server fails on the way, files from there on have its failure for an answer, and it is not asked again.

    Args:
        predictor: Predictor of the model.
        named: Files as of `image_files.named`.
        top: Number of the best classes that are told.
        batch_size: Most images at a time.

    Raises:
        UserError: if so many take more memory than there is.
    """
    paths, failed = list(named), None
    with tqdm(desc="predicting", total=len(paths), unit="image", delay=2, leave=False, disable=None) as bar:
        for first in range(0, len(paths), batch_size):
            some = paths[first : first + batch_size]
            contents = [failed or named[path] or image_files.read(path) for path in some]
            encoded = [content for content in contents if isinstance(content, bytes)]
            try:
                answers = iter(predictor.answer(encoded) if encoded else [])
            except ServerFailed as error:
                failed = Unreadable(str(error))
                contents = [failed] * len(some)
            except tf.errors.ResourceExhaustedError as error:
                raise UserError(f"Out of memory with {batch_size} images at a time; lower --batch_size.") from error
            for path, content in zip(some, contents, strict=True):
                yield of_file(path, next(answers) if isinstance(content, bytes) else content, predictor, top)
            bar.update(len(some))


def of_file(path: str, answer: np.ndarray | Unreadable, predictor: Predictor, top: int) -> Prediction:
    """The prediction that a predictor's answer, or its refusal, stands for."""
    if isinstance(answer, Unreadable):
        return Prediction(path, error=answer.reason)
    if not np.isfinite(answer).all():
        return Prediction(path, error="the model's answer is not finite")
    if not predictor.labels:
        return Prediction(path, features=answer)
    best = np.argsort(-answer, kind="stable")[:top]
    return Prediction(path, tuple(Guess(predictor.labels[i], int(i), float(answer[i])) for i in best))
