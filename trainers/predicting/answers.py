"""What an artefact says of files, some at a time."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from trainers.artefacts.artefact import Artefact, Unreadable
from trainers.predicting import files
from trainers.predicting.formats import Guess, Prediction


def of_files(
    artefact: Artefact, named: Mapping[str, Unreadable | None], top: int, batch_size: int
) -> Iterator[Prediction]:
    """A prediction for each file, in order; a bar shows on a terminal if it takes long.

    Args:
        artefact: An opened model.
        named: As of `files.named`.
        top: How many of the best classes are told.
        batch_size: Most images at a time.

    Raises:
        ValueError: if so many take more memory than there is.
    """
    paths, size = list(named), min(batch_size, artefact.batch)
    with tqdm(desc="predicting", total=len(paths), unit="image", delay=2, leave=False, disable=None) as bar:
        for first in range(0, len(paths), size):
            some = paths[first : first + size]
            contents = [named[path] or files.read(path) for path in some]
            try:
                answers = iter(artefact.answer([content for content in contents if isinstance(content, bytes)]))
            except tf.errors.ResourceExhaustedError as error:
                raise ValueError(f"Out of memory with {size} images at a time; lower --batch_size.") from error
            for path, content in zip(some, contents, strict=True):
                yield of_file(path, next(answers) if isinstance(content, bytes) else content, artefact, top)
            bar.update(len(some))


def of_file(path: str, answer: np.ndarray | Unreadable, artefact: Artefact, top: int) -> Prediction:
    """The prediction that an artefact's answer, or its refusal, stands for."""
    if isinstance(answer, Unreadable):
        return Prediction(path, error=answer.reason)
    if not np.isfinite(answer).all():
        return Prediction(path, error="the model's answer is not finite")
    if not artefact.labels:
        return Prediction(path, features=answer)
    best = np.argsort(-answer, kind="stable")[:top]
    return Prediction(path, tuple(Guess(artefact.labels[i], int(i), float(answer[i])) for i in best))
