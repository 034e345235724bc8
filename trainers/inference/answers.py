"""What an artefact says of files, some at a time."""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_vit.errors import UserError
from trainers.inference import image_files
from trainers.inference.formats import Guess, Prediction
from trainers.inference.predictor import Artefact, Unreadable
from trainers.inference.server import ServerFailed


def of_files(
    artefact: Artefact, named: Mapping[str, Unreadable | None], top: int, batch_size: int
) -> Iterator[Prediction]:
    """A prediction for each file, in order; a bar shows on a terminal if it takes long.

    Where a server fails on the way, files from there on have its failure for an answer, and it is not asked again.

    Args:
        artefact: An opened model.
        named: As of `files.named`.
        top: How many of the best classes are told.
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
                answers = iter(artefact.answer(encoded) if encoded else [])
            except ServerFailed as error:
                failed = Unreadable(str(error))
                contents = [failed] * len(some)
            except tf.errors.ResourceExhaustedError as error:
                raise UserError(f"Out of memory with {batch_size} images at a time; lower --batch_size.") from error
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
