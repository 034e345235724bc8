"""Pre-trains a Vision Transformer, from scratch or from given weights.

Training runs on the source's training split, its validation split chooses between checkpoints, and the finished model
is reported on the test split. Everything goes to the run folder: flags.cfg (repeats the run), model.keras, metrics.csv,
results.json, checkpoints and TensorBoard logs. Interrupted, the same command goes on from the last checkpoint.
From Python: `pretrain.run(pretrain.Settings(...), callbacks=[...])`.
"""

import dataclasses
import fractions
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.runs.training import Result

from trainers.settings import augmentation_group, command_line, data_groups, flags, groups, splits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    groups.RunSettings,
    groups.OptimizationSettings,
    augmentation_group.AugmentationSettings,
    data_groups.DataSettings,
    data_groups.BatchSettings,
    data_groups.SourceSettings,
    groups.ModelSettings,
):
    """Settings of pre-training; every field is a flag of the same name."""

    def __post_init__(self):
        flags.check_values(self)
        groups.check_positive(self, "batch_size")
        data_groups.check_source(self)
        data_groups.check_data(self)
        augmentation_group.check_augmentation(self)
        groups.check_optimization(self)
        groups.check_run(self)
        if self.early_stopping and self.validation_split == "none":
            raise flags.UsageError(
                f"--early_stopping={self.early_stopping} needs evaluations, but --validation_split=none."
            )
        if self.weights and not pathlib.Path(self.weights).is_file():
            raise flags.UsageError(f"--weights={self.weights}: no such weight file.")
        if not self.run_dir:
            name = f"{self.source}_{self.variant}".replace("/", "_").replace(":", "_")
            object.__setattr__(self, "run_dir", f"saved_models/{name}")


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> "Result":
    """Trains a model, or goes on training where an earlier call was cut off.

    Args:
        settings: What the flags say.
        callbacks: Further Keras callbacks.

    Raises:
        ValueError: for settings that do not fit the source, the weights or the folder; nothing is written then.
        Preempted: after a checkpoint, when a signal asked to stop.
        NotFinite: before an update whose gradients are not finite.
        WorkerLost: when another process of the run is gone.
        BadImage: for the first image that cannot be read, or too many of them.
    """
    from trainers.data import pipeline, sources
    from trainers.data.augmentation import recipe
    from trainers.engine import runtime
    from trainers.runs import report, training

    # First of all, because TensorFlow's devices and workers cannot be set up once a tensor has been made.
    where = runtime.start(settings.distribution, settings.precision, settings.seed, settings.logical_cpus, settings.tpu)
    source = sources.open_source(settings)
    check_labels(settings, source)
    recipe.check(pipeline.preprocessing_for(settings), source.channels, settings)
    architecture = architecture_for(settings, source)
    plan = plan_for(settings, pipeline.training_split(source, settings).size)
    validation, test = splits_of(settings, source)
    runtime.check_batch_size(settings.batch_size, where.replicas, settings.accumulate)
    workers = training.workers_of(settings, source, where)
    start = workers.on_chief(lambda: training.start_of(settings))
    if where.is_chief:
        print(report.plan(settings, source, architecture, plan, where, validation, test, start), flush=True)
    if settings.dry_run:
        return training.Result(None, None, {}, None)
    source.ready()
    data = pipeline.TrainingData(source, settings)
    with workers.waiting("the set-up of the model"):
        steps = training.steps_for(
            settings, source, data, plan, where, lambda: new_model(settings, source, architecture, where.precision)
        )
    return training.train(settings, source, data, plan, steps, validation, test, workers, callbacks)


def splits_of(settings: Settings, source) -> tuple[str | None, str | None]:
    """The splits to choose by and to report on; those left out default to the source's own, where it has them.

    Raises:
        ValueError: if a split that was named does not exist, or early stopping has nothing to go by.
    """
    found = []
    for given, usual in ((settings.validation_split, "validation"), (settings.test_split, "test")):
        name = given or (usual if usual in source.names else "none")
        if name != "none" and splits.overlap(source.intervals(name), source.intervals(settings.train_split)):
            raise flags.UsageError(
                f"--{usual}_split={name} holds examples of --train_split={settings.train_split}, so it would not "
                "tell how well the model does on new ones."
            )
        found.append(None if name == "none" else name)
    if settings.early_stopping and found[0] is None:
        raise flags.UsageError(
            f"--early_stopping={settings.early_stopping} needs evaluations, but {source.name} has no validation split; "
            "name a part of another, e.g. --train_split=train[:99%] --validation_split=train[99%:]."
        )
    return found[0], found[1]


def check_labels(settings: Settings, source) -> None:
    """Raises UsageError where objective or class weights do not fit the source's labels."""
    from trainers.data import class_weights

    if settings.class_weights not in ("none", "balanced"):
        class_weights.given(settings.class_weights, source)
    if source.several_labels and settings.objective == "softmax":
        raise flags.UsageError(
            f"The examples of {source.name} may belong to several classes, but --objective=softmax means exactly one; "
            "use --objective=sigmoid, with --head_bias=-10 where classes are many."
        )


def architecture_for(settings: groups.ModelSettings, source):
    """The architecture that the flags and the source make together."""
    from keras_vit import variants

    fields = {
        name: getattr(settings, name)
        for name in (field.name for field in dataclasses.fields(groups.ModelSettings))
        if name not in ("variant", "weights") and getattr(settings, name) is not None
    }
    return variants.parse(settings.variant, channels=source.channels, num_classes=source.num_classes, **fields)


def plan_for(settings: Settings, examples: int):
    """Length and rhythm of training in updates."""
    from trainers.engine.loop import Plan

    per_epoch = examples / settings.batch_size
    if settings.steps is not None:
        total = settings.steps
    elif settings.epochs is not None:
        # Exact, because 15.0 * (1293 / 5) is a little more than 3,879.
        total = math.ceil(fractions.Fraction(str(settings.epochs)) * examples / settings.batch_size)
    else:
        total = math.ceil((settings.examples or 0) / settings.batch_size)
    if settings.warmup_steps >= total:
        raise flags.UsageError(
            f"--warmup_steps={settings.warmup_steps} must be less than the {total} steps of training."
        )
    evaluate_every = min(settings.evaluate_every or math.ceil(per_epoch), total)
    return Plan(total, evaluate_every, settings.log_every, settings.steps_per_call, settings.checkpoint_every)


def new_model(settings: Settings, source, architecture, precision: str):
    """The model to train."""
    import keras_vit
    from keras_vit import vit
    from trainers.data import pipeline

    model = keras_vit.build(
        architecture,
        class_names=source.class_names,
        preprocessing=pipeline.preprocessing_for(settings),
        dtype=precision,
    )
    if settings.weights:
        start_from(model, settings.weights)
    if settings.remat:
        vit.recompute(model)
    return model


def start_from(model, path: str) -> None:
    """Copies weights, head included, from a file into a model of the same architecture."""
    from keras_vit import weights

    loaded = weights.load(path, image_size=model.architecture.image_size)
    # Rates and the head's initial bias matter to training only.
    free = {"dropout", "attention_dropout", "stochastic_depth", "head_bias"}
    theirs, ours = loaded.architecture.to_dict(), model.architecture.to_dict()
    for name in ours.keys() - free:
        if theirs[name] != ours[name]:
            raise ValueError(
                f"--weights={path} holds a model with {name}={theirs[name]}, but the flags ask for {ours[name]}."
            )
    model.set_weights(loaded.get_weights())


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "pretrain"))
