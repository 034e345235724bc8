"""The instant baseline: a linear classifier on frozen features, solved in closed form, within a minute."""

import dataclasses
import time
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from keras_vit.evaluation import fewshot
from trainers.data.pipeline import EvaluationData, training_split
from trainers.data.source import Split
from trainers.engine.workers import Workers
from trainers.evaluations import answers
from trainers.evaluations.answers import Answers
from trainers.evaluations.fewshot import selected
from trainers.runs.planning import Planned

# Seconds that computing features may take, of training examples and of those that are predicted; there are no more
# than so many of each.
TRAIN_SECONDS, TEST_SECONDS = 40.0, 20.0
MOST = 50_000


class Features(NamedTuple):
    """Frozen features, as far as there was time.

    Args:
        train: Of training examples.
        test: Of examples of another split, or None where there is none.
        split: Name of that.
        seconds: Spent on them.
    """

    train: Answers
    test: Answers | None
    split: str | None
    seconds: float


def features(planned: Planned, model) -> Features:
    """Features of training examples, and of those that choose or are reported; the same on all workers.

    Args:
        planned: The run.
        model: With the weights that fine-tuning starts from, made under the run's strategy.
    """
    begin = time.monotonic()
    body = keras.Model(model.input, model.get_layer("pre_logits").output)
    split = planned.validation or planned.test
    train = _some(planned, body, training_split(planned.source, planned.settings), "training features", TRAIN_SECONDS)
    test = _some(planned, body, planned.source.split(split), f"features of {split}", TEST_SECONDS) if split else None
    return Features(train, test, split, time.monotonic() - begin)


def accuracy(found: Features, num_classes: int) -> float | None:
    """Of the paper's closed-form probe (section 4.1) on those features; None if there is nothing to predict."""
    if found.test is None or not len(found.test.ids) or not len(found.train.ids):
        return None
    train, test = found.train, found.test
    return fewshot.accuracy(train.outputs, train.labels, test.outputs, test.labels, num_classes)


def words(found: Features, value: float) -> str:
    """A line about the baseline."""
    assert found.test is not None
    return (
        f"instant baseline: {100 * value:.2f} % on {len(found.test.ids):,} examples of {found.split}, by a linear "
        f"classifier on frozen features of {len(found.train.ids):,} training examples ({found.seconds:.0f} s)"
    )


def _some(planned: Planned, body, split: Split, doing: str, seconds: float) -> Answers:
    """Features of a split's examples in random order, until the time is up."""
    order = np.random.default_rng(0).permutation(split.size)[:MOST]
    source = dataclasses.replace(planned.source, splits={"some": selected(split, order)}, views={})
    batch_size = planned.settings.batch_size
    data = EvaluationData(source, "some", batch_size, planned.preprocessing)
    found = answers.batches(
        body, data.batches, planned.where.strategy, batch_size, doing=doing, after_batch=source.bad.check
    )
    rows = answers.number_of_batches(data.batches, batch_size) * batch_size
    return _labelled(answers.kept(_until(time.monotonic() + seconds, found, planned.workers), rows))


def _until(deadline: float, parts: Iterator[Answers], workers: Workers) -> Iterator[Answers]:
    for part in parts:
        yield part
        (late,) = workers.any(time.monotonic() > deadline)
        if late:
            return


def _labelled(found: Answers) -> Answers:
    """Those with a label, which is a number then where examples have one class each."""
    if found.labels.ndim == 2:
        return found
    labelled = found.labels >= 0
    return Answers(*(part[labelled] for part in found))
