"""How logits become an answer, and the temperature fitted to labelled examples."""

import numpy as np

from keras_vit.classifier import ImageClassifier
from keras_vit.errors import UserError
from keras_vit.evaluation import calibration
from keras_vit.export.answering import Answering
from trainers.data import pipeline
from trainers.data.source import Source
from trainers.engine.protocols import Runtime
from trainers.evaluations import answers
from trainers.inference.source_model import SourceModel
from trainers.settings.export import ExportSettings

BATCH = 64


def answering_for(settings: ExportSettings, loaded: SourceModel, source: Source | None, runtime: Runtime) -> Answering:
    """How logits become an answer: what the flags say, the run where they say nothing, and the labels if asked."""
    kind = loaded.answering.probabilities if settings.probabilities == "auto" else settings.probabilities
    degree = settings.temperature
    if settings.fit_temperature and source is not None:
        degree = fitted(settings.calibration_split, loaded.model, source, runtime, kind)
    return Answering(probabilities=kind, temperature=degree, top=settings.top)


def fitted(split: str, model: ImageClassifier, source: Source, runtime: Runtime, probabilities: str) -> float:
    """The temperature under which the labels of a split are likeliest; says what it changes.

    Raises:
        UserError: if probabilities are no softmax, or the split has no examples with one class each.
    """
    if probabilities != "softmax" or source.several_labels or not model.architecture.num_classes:
        raise UserError(
            "--fit_temperature is for a model with a head and a softmax, and a source whose examples have one class "
            "each."
        )
    data = pipeline.EvaluationData(source.split(split), BATCH, model.preprocessing)
    rows = answers.number_of_batches(data.batches, BATCH) * BATCH
    collected = answers.collect(
        answers.batches(model, data.batches, runtime, BATCH, doing="temperature", after_batch=source.bad.check),
        rows,
    )
    labelled = collected.labels >= 0 if collected.labels.ndim == 1 else np.zeros(len(collected.labels), bool)
    logits, labels = collected.outputs[labelled], collected.labels[labelled]
    degree = calibration.fit_temperature(logits, labels)
    before, after = (calibration.negative_log_likelihood(logits, labels, each) for each in (1.0, degree))
    print(
        f"temperature {degree:.3f}, fitted to {len(labels):,} examples of {split}: "
        f"negative log-likelihood {before:.4f} -> {after:.4f}"
    )
    return degree
