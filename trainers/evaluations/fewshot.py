"""`fewshot`: the paper's linear probe on a few examples of each class; what a model's features are worth.

For each seed and number of shots that many examples of each class are chosen from the training split, and the
regression of `keras_vit.evaluation.fewshot` on their features is measured on the whole of the other split. The head has
no part in it. As in the authors' code, images are resized to 8/7 of the model's size, their aspect not kept, and the
central part is taken (256 and 224 pixels).
"""

import dataclasses

import numpy as np

from keras_vit.errors import UserError
from keras_vit.evaluation import fewshot
from keras_vit.preprocessing import Preprocessing
from trainers.data import pipeline
from trainers.data.source import Source, Split, selected
from trainers.engine.protocols import Runtime
from trainers.evaluations.answers import Answers, features
from trainers.inference import compatibility
from trainers.settings import splits
from trainers.settings.evaluation import EvaluationSettings


def measure(settings: EvaluationSettings, model, source: Source, runtime: Runtime, callbacks=()) -> dict[str, float]:
    """{"fewshot 5-shot": mean accuracy over seeds, "fewshot 5-shot spread": their standard deviation, ...}.

    Args:
        settings: Needs split, train_split, batch_size, shots and seeds.
        model: Any model for the source's channels, whatever its head.
        source: Opened source.
        runtime: Runtime.
        callbacks: Callbacks, told of nothing: what they watch is the evaluation of the model's own head.

    Raises:
        UserError: if examples may have several classes, the splits share some, or images have other channels.
    """
    check(settings, model, source)
    split = source.split(settings.train_split)
    examples, labels = split.positives()
    if source.several_labels or not len(examples) or len(np.unique(examples)) < len(examples):
        raise UserError(f"--evaluations=fewshot is for examples with one class each, which {source.name} has not.")
    chosen = {(k, seed): examples[fewshot.choose(labels, k, seed)] for k in settings.shots for seed in settings.seeds}
    union = np.unique(np.concatenate(list(chosen.values())))
    some = dataclasses.replace(selected(split, union), name=CHOSEN)
    train = _features(settings, model, some, runtime)
    test = _features(settings, model, source.split(settings.split), runtime)
    for name, answers in ((settings.train_split, train), (settings.split, test)):
        if not len(answers.ids):
            raise UserError(f"--evaluations=fewshot: {name} of {source.name} has no example with a label to be read.")
    rows: dict[str, float] = {}
    for k in settings.shots:
        # Chosen examples that could not be read are simply not there.
        of_seed = [np.isin(union[train.ids], chosen[k, seed]) for seed in settings.seeds]
        accuracies = [_accuracy(train, rows_of, test, source.num_classes) for rows_of in of_seed]
        rows[f"fewshot {k}-shot"] = float(np.mean(accuracies))
        if len(accuracies) > 1:
            rows[f"fewshot {k}-shot spread"] = float(np.std(accuracies, ddof=1))
    return rows


CHOSEN = "chosen"  # the name, in messages, of the examples that are


def check(settings: EvaluationSettings, model, source: Source) -> None:
    """Raises UserError if the model takes other images than the source has, or the two splits share examples."""
    compatibility.check_images(model, source, f"--model={settings.model}")
    if splits.overlap(source.intervals(settings.train_split), source.intervals(settings.split)):
        raise UserError(
            f"--train_split={settings.train_split} and --split={settings.split} share examples: the probe would be "
            "measured on what it was fitted to. Name splits apart."
        )


def enlarged(preprocessing: Preprocessing) -> Preprocessing:
    """The whole image resized to 8/7 of the model's size, of which the centre is cut out afterwards."""
    height, width = preprocessing.size
    return dataclasses.replace(preprocessing, size=(round(height * 8 / 7), round(width * 8 / 7)), crop=None)


def central(images, size: tuple[int, int]):
    """The central (h, w) of images (B, H, W, C); of an odd remainder the larger part is cut off below and right."""
    top, left = (images.shape[1] - size[0]) // 2, (images.shape[2] - size[1]) // 2
    return images[:, top : top + size[0], left : left + size[1]]


def _features(settings: EvaluationSettings, model, split: Split, runtime: Runtime) -> Answers:
    """Features of the examples that have a label, which is a number then."""
    wanted = model.preprocessing
    data = pipeline.EvaluationData(split, settings.batch_size, enlarged(wanted))

    def feed(share, shares, rows):
        batches = data.batches(share, shares, rows)
        return batches.map(lambda batch: batch | {"images": central(batch["images"], wanted.size)})

    doing, check_bad = f"features of {split.name}", split.bad.check
    answers = features(model, feed, runtime, settings.batch_size, doing=doing, after_batch=check_bad)
    if answers.labels.ndim == 2:  # shares, of one class in all
        labelled = (answers.labels > 0).any(axis=1)
        answers = answers._replace(labels=answers.labels.argmax(axis=1))
    else:
        labelled = answers.labels >= 0
    return Answers(*(part[labelled] for part in answers))


def _accuracy(train: Answers, rows: np.ndarray, test: Answers, num_classes: int) -> float:
    return fewshot.accuracy(train.outputs[rows], train.labels[rows], test.outputs, test.labels, num_classes)
