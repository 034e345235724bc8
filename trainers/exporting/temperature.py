"""The temperature of a model's probabilities, fitted to labelled examples."""

from typing import Any

import numpy as np

from keras_vit.errors import UserError
from keras_vit.evaluation import calibration
from trainers.data import pipeline
from trainers.evaluations import answers

BATCH = 64


def fitted(settings: Any, model, source, where, probabilities: str) -> float:
    """The temperature under which the labels of `--calibration_split` are likeliest; says what it changes.

    Raises:
        UserError: if probabilities are no softmax, or the split has no examples with one class each.
    """
    if probabilities != "softmax" or source.several_labels or not model.architecture.num_classes:
        raise UserError(
            "--fit_temperature is for a model with a head and a softmax, and a source whose examples have one class "
            "each."
        )
    data = pipeline.EvaluationData(source, settings.calibration_split, BATCH, model.preprocessing)
    rows = answers.number_of_batches(data.batches, BATCH) * BATCH
    found = answers.kept(
        answers.batches(model, data.batches, where, BATCH, doing="temperature", after_batch=source.bad.check),
        rows,
    )
    labelled = found.labels >= 0 if found.labels.ndim == 1 else np.zeros(len(found.labels), bool)
    logits, labels = found.outputs[labelled], found.labels[labelled]
    degree = calibration.fit_temperature(logits, labels)
    before, after = (calibration.negative_log_likelihood(logits, labels, each) for each in (1.0, degree))
    print(
        f"temperature {degree:.3f}, fitted to {len(labels):,} examples of {settings.calibration_split}: "
        f"negative log-likelihood {before:.4f} -> {after:.4f}"
    )
    return degree
