"""Writes each format, and holds what runs it against the model on the same images."""

import functools
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from keras_vit.errors import UserError, reason
from keras_vit.export import description
from keras_vit.export.answering import MAIN
from trainers.exporting import formats, gate
from trainers.exporting.examples import Examples
from trainers.exporting.formats import Job
from trainers.exporting.gate import Finding
from trainers.exporting.report import Row
from trainers.inference import keras_model, opening
from trainers.inference.predictor import Answers, Predictor, Unreadable

ROWS = 16  # images at a time
TIMED = 20  # requests of one image, of which the median is told
Answered = Callable[[str], np.ndarray]  # from an output's name to what the model answers


def written(job: Job, names: Sequence[str], staging: pathlib.Path, shown: Examples) -> list[Row]:
    """Writes every format into a folder, and compares it there; the model's own row comes first."""

    @functools.cache
    def ours(output: str) -> np.ndarray:
        return answers(keras_model.of_model(job.model, job.answering, output), shown.encoded)

    with tqdm(total=len(names) + 1, unit="file", leave=False, delay=2) as bar:
        bar.set_description("answers of the model", refresh=False)
        rows = [model_row(job, ours, shown)]
        for name in names:
            bar.update()
            bar.set_description(name, refresh=False)
            path = staging / formats.FORMATS[name].file
            formats.FORMATS[name].write(job, path)
            rows += compared(job, name, path, ours, shown)
        bar.update()
    return rows


def model_row(job: Job, ours: Answered, shown: Examples) -> Row:
    """The model itself beside what is made of it."""
    own, size = keras_model.of_model(job.model, job.answering), 4 * job.model.count_params()
    comparison = finding(job, own.output, ours(own.output), ours(own.output), shown)
    return Row("model", own.runtime, "", size, milliseconds(own, shown), comparison)


def compared(job: Job, name: str, path: pathlib.Path, ours: Answered, shown: Examples) -> list[Row]:
    """A format in each of its runtimes, of which the first is timed."""
    file, limit, size = formats.FORMATS[name].file, formats.FORMATS[name].limit, formats.size_of(path)
    check = functools.partial(gate.check_best, labels=np.array(description.labels_of(job.model)))
    rows: list[Row] = []
    try:
        predictors = opening.open_runtimes(os.fspath(path), check)
        gate.check_labels(predictors[0].labels, job.model)
        for each in predictors:
            comparison = finding(job, each.output, ours(each.output), answers(each, shown.encoded), shown)
            took = None if rows else milliseconds(each, shown)
            rows.append(
                Row(name, each.runtime, file, None if rows else size, took, comparison, tuple(comparison.faults(limit)))
            )
    except Exception as error:  # runtimes raise whatever they like, and any of it is a fault of the file
        rows.append(Row(name, "", file, size, None, None, (f"cannot be used: {reason(error)}",)))
    return rows


def finding(job: Job, output: str, ours: np.ndarray, answers: np.ndarray, shown: Examples) -> Finding:
    """How answers compare with the model's."""
    return gate.compare(ours, answers, shown.labels, job.answering if output == MAIN[0] else None)


def answers(predictor: Predictor, encoded: Sequence[bytes]) -> np.ndarray:
    """The answers to all images, some at a time.

    Raises:
        UserError: if it does not read one of them.
    """
    answered: Answers = []
    for first in range(0, len(encoded), ROWS):
        answered += predictor.answer(encoded[first : first + ROWS])
    refused = next((one for one in answered if isinstance(one, Unreadable)), None)
    if refused is not None:
        raise UserError(f"it does not read an image that its model reads: {refused.reason}")
    return np.stack([one for one in answered if isinstance(one, np.ndarray)])


def milliseconds(predictor: Predictor, shown: Examples) -> float:
    """Median time of requests of one image each, after one of each that does not count."""
    requests = [[shown.encoded[number % len(shown.encoded)]] for number in range(TIMED)]
    for request in requests:
        predictor.answer(request)
    times = []
    for request in requests:
        begin = time.perf_counter()
        predictor.answer(request)
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)
