"""`accuracy`: how well a model's own head does, exact to the last example."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from keras_vit.errors import UserError
from keras_vit.evaluation import classification
from trainers.data import pipeline
from trainers.data.source import Source, Split
from trainers.engine.protocols import Feed, Runtime
from trainers.evaluations import predictions
from trainers.inference import compatibility
from trainers.reports import class_report
from trainers.reports.class_report import ClassReport
from trainers.settings.evaluation import EvaluationSettings

# The row of the model's top-1 accuracy, beside those of classical methods.
OWN = "vision transformer"

ADVICE = "train one with trainers.finetune, or give --evaluations=fewshot, which needs none."


def measure(settings: EvaluationSettings, model, source: Source, runtime: Runtime, callbacks=()) -> dict[str, float]:
    """Accuracies of a model's head; with `--per_class` and `--output` those of each class.

    Where examples have one class each: top-1, top-5 if there are more than five classes, balanced accuracy (mean of the
    classes' recalls) and macro F1. Where they may have several: mAP, and how often the best class is one of them.

    Raises:
        UserError: if model and source do not fit, the head is all zeros, or there is no label.
    """
    compatibility.check_classes(model, source, f"--model={settings.model}", ADVICE)
    split = source.split(settings.split)
    data = pipeline.EvaluationData(split, settings.batch_size, model.preprocessing)
    listed = keras.callbacks.CallbackList(list(callbacks), model=model)
    listed.on_test_begin()
    results = measured(model, data.batches, runtime, settings.batch_size, split, listed)
    if results is None:
        raise UserError(f"--split={settings.split} of {source.name} has no example with a label that can be read.")
    rows, report = results
    listed.on_test_end(rows)
    if settings.per_class:
        print(class_report.text(report))
    if settings.output:
        files = class_report.write(report, settings.output)
        print(f"{', '.join(files)}: in {os.path.join(settings.output, '')}")
    return rows


def measured(
    model: Any,
    feed: Feed,
    runtime: Runtime,
    batch_size: int,
    split: Split,
    callbacks: keras.callbacks.CallbackList | None = None,
    answered: Callable[[], None] = lambda: None,
) -> tuple[dict[str, float], ClassReport] | None:
    """What `measure` returns, and the report of each class; None if no example has a label that can be read.

    Args:
        model: Model for as many classes as the source has.
        feed: Feed of finite global batches, such as `EvaluationData.batches`.
        runtime: Runtime, where the model's variables are placed.
        batch_size: Global batch size.
        split: Split that is evaluated.
        callbacks: Callbacks told of batches.
        answered: Function called after each batch.
    """

    def after_batch():
        split.bad.check()
        answered()

    names = class_report.names_of(split.class_names, split.num_classes)
    hooks: dict[str, Any] = {"callbacks": callbacks, "after_batch": after_batch}
    if split.several_labels:
        return _several_classes(predictions.scores(model, feed, runtime, batch_size, **hooks), names)
    return _one_class(predictions.predict(model, feed, runtime, batch_size, **hooks), names)


def _one_class(predicted: predictions.Predictions, names) -> tuple[dict[str, float], ClassReport] | None:
    if not len(predicted.labels):
        return None
    report = class_report.of_predictions(predicted.labels, predicted.predictions, names)
    rows = {OWN: classification.top_k_accuracy(predicted.ranks, 1)}
    if len(names) > 5:
        rows["top-5 accuracy"] = classification.top_k_accuracy(predicted.ranks, 5)
    rows["balanced accuracy"] = classification.mean(report.columns["recall"])
    rows["macro F1"] = classification.mean(report.columns["f1"])
    return rows, report


def _several_classes(scored: predictions.Scores, names) -> tuple[dict[str, float], ClassReport] | None:
    labelled = scored.positives.any(axis=1)
    if not labelled.any():
        return None
    areas = _average_precisions(scored)
    best = scored.scores[labelled].argmax(axis=1)
    hits = scored.positives[labelled][range(len(best)), best]
    rows = {OWN: float(hits.mean()), "mAP": classification.mean(areas)}
    return rows, class_report.of_average_precisions(areas, scored.positives, names)


def _average_precisions(scored: predictions.Scores) -> np.ndarray:
    """(Y,); some classes at a time, because thousands of them take a while."""
    begins = tqdm(range(0, scored.scores.shape[1], 50), "average precision", leave=False, unit="x50", delay=2)
    parts = [(scored.positives[:, begin : begin + 50], scored.scores[:, begin : begin + 50]) for begin in begins]
    return np.concatenate([classification.average_precisions(*part) for part in parts])
