"""The instant baseline: a linear classifier on frozen features, solved in closed form, within a minute; and training
beside it."""

import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_vit.evaluation import fewshot
from trainers.data.bad_images import BadImages
from trainers.data.pipeline import EvaluationData
from trainers.data.source import Split, selected
from trainers.engine.workers import Workers
from trainers.evaluations import answers
from trainers.evaluations.answers import Answers
from trainers.training.plan import Plan

# Seconds that computing features may take, of training examples and of each split that is predicted; there are no more
# than so many of each.
TRAIN_SECONDS, TEST_SECONDS = 40.0, 20.0
MOST = 50_000


class BesideBaseline(keras.callbacks.Callback):
    """Shows every evaluation's accuracy beside the baseline's; checkpoints remember that.

    Args:
        accuracies: Shares by `val` and `test`; none where there is no baseline, or a resumed run is to tell.
        speaks: Whether this process is the one that speaks to people.
    """

    def __init__(self, accuracies: dict[str, float], speaks: bool):
        super().__init__()
        self.accuracies = accuracies
        self.speaks = speaks

    def on_epoch_end(self, epoch, logs=None):
        value, baseline = (logs or {}).get("val_accuracy"), self.accuracies.get("val")
        if self.speaks and value is not None and baseline is not None:
            print(
                f"val_accuracy {100 * value:.2f} %, instant baseline {100 * baseline:.2f} % "
                f"({100 * (value - baseline):+.2f})",
                file=sys.stderr,
                flush=True,
            )

    def results(self) -> dict[str, float]:
        """For results.json."""
        return {f"baseline_{kind}_accuracy": value for kind, value in self.accuracies.items()}

    def get_state(self) -> dict[str, Any]:
        return {"accuracies": self.accuracies}

    def set_state(self, state: dict[str, Any]) -> None:
        self.accuracies = state["accuracies"]


def train_features(plan: Plan, model, count: int | None) -> tuple[Answers, int]:
    """Features of training examples, as many as asked for or there is time for; the same on all workers.

    With them their number, those included that could not be read or have no label.

    Args:
        settings: Settings of the run.
        plan: The run.
        model: Model with the weights that fine-tuning starts from, made where variables are placed.
        count: Number of them; None for as many as there is time for.
    """
    seconds = TRAIN_SECONDS if count is None else float("inf")
    return _features_of(plan, model, plan.training, "training features", count or MOST, seconds)


def accuracies(plan: Plan, model, train: Answers) -> dict[str, float]:
    """Accuracy of the paper's closed-form probe (section 4.1) on the splits that choose and report, `val` and `test`.

    Args:
        plan: The run.
        model: Model as of `train_features`.
        train: Features of training examples.
    """
    by_split = {}
    for kind, split in {"val": plan.validation, "test": plan.test}.items():
        if split is None or not len(train.ids):
            continue
        test, _ = _features_of(plan, model, split, f"features of {split.name}", MOST, TEST_SECONDS)
        if not len(test.ids):
            continue
        by_split[kind] = fewshot.accuracy(
            train.outputs, train.labels, test.outputs, test.labels, plan.source.num_classes
        )
        if plan.runtime.is_chief:
            print(
                f"instant baseline: {100 * by_split[kind]:.2f} % on {len(test.ids):,} examples of {split.name}, by a "
                f"linear classifier on frozen features of {len(train.ids):,} training examples",
                flush=True,
            )
    return by_split


def _features_of(plan: Plan, model, split: Split, doing: str, most: int, seconds: float) -> tuple[Answers, int]:
    """Features of a split's examples in random order, until there are enough or the time is up; and how many."""
    order = np.random.default_rng(0).permutation(split.size)[:most]
    settings, workers = plan.settings, plan.workers
    # With a count of its own: the same images come again in training, where those that cannot be read are listed.
    bad = BadImages(settings.on_bad_image, settings.max_bad_share)
    some = dataclasses.replace(selected(split, order), bad=bad)
    data = EvaluationData(some, settings.batch_size, plan.preprocessing)
    body = keras.Model(model.input, model.get_layer("pre_logits").output)
    rows = answers.number_of_batches(data.batches, settings.batch_size) * settings.batch_size
    taken: list[int] = []
    with workers.waiting(doing):
        parts = answers.batches(body, data.batches, plan.runtime, settings.batch_size, doing=doing)
        in_time = _until_deadline(time.monotonic() + seconds, parts, workers, bad, taken)
        features = _labelled(answers.collect(in_time, rows), plan.source.several_labels)
    return features, min(len(taken) * settings.batch_size, len(order))


def _until_deadline(
    deadline: float, parts: Iterator[Answers], workers: Workers, bad: BadImages, taken: list[int]
) -> Iterator[Answers]:
    """Some of the parts, until the time is up on any worker; their lengths go into `taken`.

    Raises:
        BadImage: on all workers alike.
    """
    for part in parts:
        taken.append(len(part.ids))
        yield part
        late, news = workers.any(time.monotonic() > deadline, bool(bad.snapshot()))
        if news:
            for snapshot in workers.gather(bad.snapshot()):
                bad.merge(snapshot)
            bad.check()
        if late:
            return


def _labelled(features: Answers, several_labels: bool) -> Answers:
    """Those with a label, which is a number then where examples have one class each."""
    if several_labels:
        return features
    if features.labels.ndim == 2:  # shares
        labelled, labels = (features.labels > 0).any(axis=1), features.labels.argmax(axis=1)
        features = features._replace(labels=labels)
    else:
        labelled = features.labels >= 0
    return Answers(*(part[labelled] for part in features))
