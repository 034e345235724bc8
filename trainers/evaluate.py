"""Evaluates a saved model on a source.

Rows of the table come from --evaluations: `accuracy` is the model's own, exact to the last example; `baselines` are
classical methods trained on the pixels of the same split, for small data.
"""

import dataclasses
import pathlib
import sys
import zipfile
from collections.abc import Sequence
from typing import Any

from trainers.settings import command_line, data_groups, flags, groups
from trainers.settings.fields import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(data_groups.BatchSettings, data_groups.SourceSettings):
    """Evaluation."""

    model: str = setting("", "A .keras file, or the folder of a run.", affects_result=True)
    split: str = setting("test", "What to evaluate on, e.g. test or validation.", affects_result=True)
    evaluations: str = setting(
        "accuracy", "What to report, separated by commas: accuracy, baselines.", affects_result=True
    )

    def __post_init__(self):
        flags.check_values(self)
        groups.check_positive(self, "batch_size")
        data_groups.check_source(self)
        if not self.model:
            raise flags.UsageError("--model is needed: a .keras file, or the folder of a run.")
        unknown = sorted(set(self.evaluations.split(",")) - set(EVALUATIONS))
        if unknown:
            raise flags.UsageError(f"Unknown --evaluations {unknown[0]!r}; choose among {', '.join(EVALUATIONS)}.")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> dict[str, float]:
    """Evaluates; prints a table and returns {row: accuracy}. Keras callbacks are told of the model's own evaluation."""
    from trainers.data import sources
    from trainers.engine import runtime

    where = runtime.start("one_device", "float32", 0)
    model = load_model(settings.model)
    source = sources.open_source(settings)
    source.ready()
    rows: dict[str, float] = {}
    for name in settings.evaluations.split(","):
        rows |= EVALUATIONS[name](settings, model, source, where, callbacks)
    print(table(rows, f"{source.name}, {settings.split}, {source.split(settings.split).size:,} examples"))
    return rows


def load_model(path: str) -> Any:
    """A model saved by keras_vit.

    Raises:
        ValueError: if there is no such file, or it holds something else.
    """
    import keras

    import keras_vit

    file = pathlib.Path(path)
    file = file / "model.keras" if file.is_dir() else file
    if not file.is_file():
        raise ValueError(f"--model={path}: there is no file {file}.")
    try:
        model = keras.models.load_model(file, compile=False)
    except (ValueError, OSError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"--model={path}: not a readable .keras file ({str(error).partition('. ')[0]}).") from error
    if not isinstance(model, keras_vit.VisionTransformer):
        raise ValueError(f"--model={path} holds a {type(model).__name__}, not a model of keras_vit.")
    return model


def accuracy(settings: Settings, model, source, where, callbacks=()) -> dict[str, float]:
    """Top-1 accuracy, every example counted once."""
    import keras

    from keras_vit.objectives.classification import Softmax
    from trainers.data import pipeline
    from trainers.engine.evaluation import Evaluation

    check_classes(settings, model, source)
    data = pipeline.EvaluationData(source, settings.split, settings.batch_size, model.preprocessing)
    evaluation = Evaluation(model, Softmax(source.num_classes), data.batches, where.strategy, settings.batch_size)
    listed = keras.callbacks.CallbackList(list(callbacks), model=model)
    means = evaluation.run(listed, after_batch=source.bad.check)
    report_bad(source)
    if "accuracy" not in means:
        raise ValueError(f"--split={settings.split} of {source.name} has no example with a label that can be read.")
    return {"vision transformer": means["accuracy"]}


def report_bad(source) -> None:
    """Says which images were left out."""
    for split, places in source.bad.snapshot().items():
        print(f"left out of {split}, because they cannot be read: {len(places):,} images")
        for place, reason in sorted(places.items()):
            print(f"  {place}: {reason}")


def check_classes(settings: Settings, model, source) -> None:
    """Raises ValueError if model and source do not mean the same by their outputs and labels."""
    architecture, ours, theirs = model.architecture, model.class_names, source.class_names
    if (architecture.num_classes, architecture.channels) != (source.num_classes, source.channels):
        raise ValueError(
            f"--model={settings.model} is for {architecture.num_classes} classes and {architecture.channels} channels; "
            f"--source={settings.source} has {source.num_classes} and {source.channels}."
        )
    differ = [pair for pair in enumerate(zip(ours or (), theirs or (), strict=False)) if len(set(pair[1])) > 1]
    if differ:
        number, (our, their) = differ[0]
        raise ValueError(
            f"--model={settings.model} calls class {number} {our!r}, --source={settings.source} calls it {their!r}: "
            "their labels do not mean the same."
        )


def baselines(settings: Settings, model, source, where, callbacks=()) -> dict[str, float]:
    """Classical methods on the pixels at their own size, trained on every split but the one evaluated."""
    import numpy as np
    import tensorflow as tf

    def arrays(split):
        images, labels = split.read(tf.range(split.size, dtype=tf.int64))
        return images.numpy().reshape(split.size, -1) / 255, labels.numpy()

    if source.name not in ("digits", "synthetic"):
        raise ValueError(f"--evaluations=baselines wants raw pixels in memory: digits or synthetic, not {source.name}.")
    if settings.split not in source.splits:
        raise ValueError(
            f"--evaluations=baselines wants a whole split, not {settings.split!r}: it trains on the others."
        )
    parts = [arrays(split) for name, split in source.splits.items() if name != settings.split]
    train_pixels, train_labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    pixels, labels = arrays(source.splits[settings.split])
    return {
        name: float(np.mean(classifier.fit(train_pixels, train_labels).predict(pixels) == labels))
        for name, classifier in classifiers().items()
    }


def classifiers() -> dict[str, Any]:
    """What a small model has to stand beside."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    return {
        "logistic regression": LogisticRegression(max_iter=1000),
        "1-nearest neighbour": KNeighborsClassifier(n_neighbors=1),
        "RBF support vectors": SVC(C=10, gamma="scale"),
    }


def table(rows: dict[str, float], title: str) -> str:
    width = max(map(len, rows))
    return "\n".join([f"Accuracy on {title}", *(f"  {name:<{width}}  {100 * rows[name]:6.2f} %" for name in rows)])


EVALUATIONS = {"accuracy": accuracy, "baselines": baselines}


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "evaluate"))
