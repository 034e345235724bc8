"""Pre-trains a Vision Transformer, from scratch or from given weights.

Training runs on the source's training split, its validation split chooses between checkpoints, and the finished model
is reported on the test split. Everything goes to the run folder: flags.cfg (repeats the run), model.keras, metrics.csv,
results.json and TensorBoard logs. From Python: `pretrain.run(pretrain.Settings(...), callbacks=[...])`.
"""

import contextlib
import dataclasses
import fractions
import functools
import math
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from trainers.settings import command_line, flags, groups


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(
    groups.RunSettings,
    groups.OptimizationSettings,
    groups.DataSettings,
    groups.SourceSettings,
    groups.ModelSettings,
):
    """Settings of pre-training; every field is a flag of the same name."""

    def __post_init__(self):
        flags.check_values(self)
        groups.check_positive(self, "batch_size")
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


class Result(NamedTuple):
    """What a run returns: the trained model, Keras's history, the contents of results.json, and its folder."""

    model: Any
    history: Any
    metrics: dict[str, Any]
    run_dir: pathlib.Path | None


def run(settings: Settings, callbacks: Sequence[Any] = ()) -> Result:
    """Trains a model.

    Args:
        settings: What the flags say.
        callbacks: Further Keras callbacks.

    Raises:
        ValueError: for settings that do not fit the source, the weights or the folder; nothing is written then.
    """
    from trainers.data import pipeline, sources
    from trainers.engine import loop, runtime
    from trainers.runs import folder, report

    source = sources.open_source(settings)
    architecture = architecture_for(settings, source)
    plan = plan_for(settings, source.split(settings.train_split).size)
    validation, test = splits_of(settings, source)
    where = runtime.start(settings.distribution, settings.precision, settings.seed, settings.logical_cpus)
    runtime.check_batch_size(settings.batch_size, where.replicas, settings.accumulate)
    folder.check(settings.run_dir, settings.overwrite)
    if where.is_chief:
        print(report.plan(settings, source, architecture, plan, where, validation, test))
    if settings.dry_run:
        return Result(None, None, {}, None)

    source.ready()
    feed = functools.partial(pipeline.batches, source, settings, 0)
    element_spec = feed(0, 1, settings.batch_size).element_spec
    steps = build_steps(settings, source, architecture, plan, where, element_spec)
    claimed = folder.claimed(settings.run_dir, flags.to_flagfile(settings)) if where.is_chief else None
    with claimed or contextlib.nullcontext() as run_dir:
        history, ours = make_callbacks(settings, plan, run_dir)
        begin = time.perf_counter()
        loop.fit(steps, feed, plan, [*ours, *callbacks], evaluation_of(steps, source, validation, settings))
        metrics = report.results(settings, plan, steps.step, time.perf_counter() - begin, history)
        model = uncompiled(steps.model)
        if run_dir is not None:
            folder.replace_with(run_dir / folder.MODEL, model.save)
        if (evaluation := evaluation_of(steps, source, test, settings)) is not None:
            metrics |= {f"test_{name}": value for name, value in evaluation.run().items()}
        if run_dir is not None:
            folder.write_json(run_dir / folder.RESULTS, metrics)
            print(report.closing(metrics, run_dir))
    return Result(model, history, metrics, run_dir)


def splits_of(settings: Settings, source) -> tuple[str | None, str | None]:
    """The splits to choose by and to report on; those left out default to the source's own, where it has them.

    Raises:
        ValueError: if a split that was named does not exist, or early stopping has nothing to go by.
    """
    found = []
    for given, usual in ((settings.validation_split, "validation"), (settings.test_split, "test")):
        name = given or (usual if usual in source.splits else "none")
        if name != "none":
            source.split(name)
            if groups.overlap(name, settings.train_split):
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


def architecture_for(settings: Settings, source):
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
    return Plan(total, evaluate_every, settings.log_every, settings.steps_per_call)


def build_steps(settings: Settings, source, architecture, plan, where, element_spec):
    """Model, objective and optimizer, under the run's strategy."""
    import keras_vit
    from keras_vit import optimization
    from keras_vit.objectives.classification import OBJECTIVES
    from trainers.data import pipeline
    from trainers.engine.steps import Steps

    with where.strategy.scope():
        model = keras_vit.build(
            architecture,
            class_names=source.class_names,
            preprocessing=pipeline.preprocessing_for(settings),
            dtype=where.precision,
        )
        if settings.weights:
            start_from(model, settings.weights)
        schedule = optimization.WarmupSchedule(
            settings.schedule,
            settings.learning_rate,
            plan.total_steps,
            settings.warmup_steps,
            settings.end_learning_rate,
        )
        optimizer = optimization.optimizer(
            settings.optimizer,
            model.trainable_variables,
            learning_rate=schedule,
            weight_decay=settings.weight_decay,
        )
        model.compile(optimizer=optimizer)  # standard callbacks look for it on the model
    return Steps(
        model,
        OBJECTIVES[settings.objective](source.num_classes, settings.label_smoothing),
        optimizer,
        where.strategy,
        element_spec,
        batch_size=settings.batch_size,
        clip_norm=settings.clip_norm,
        accumulate=settings.accumulate,
        ema=settings.ema,
        xla=settings.xla,
        seed=settings.seed,
    )


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


def evaluation_of(steps, source, split: str | None, settings: Settings):
    """Evaluation of a split by the run's objective, its labels not smoothed; None without a split."""
    from trainers.data import pipeline
    from trainers.engine.evaluation import Evaluation

    if split is None:
        return None
    objective = dataclasses.replace(steps.objective, label_smoothing=0.0)
    feed = functools.partial(pipeline.evaluation_batches, source, split, settings)
    return Evaluation(steps.model, objective, feed, steps.strategy, settings.batch_size)


def make_callbacks(settings: Settings, plan, run_dir: pathlib.Path | None):
    """Keras's history, and the callbacks of every run; those that write and speak only where there is a folder."""
    import keras

    from trainers.engine import callbacks
    from trainers.runs import folder

    history = keras.callbacks.History()
    ours = [history]
    if run_dir is not None:
        ours += [
            callbacks.MetricsFile(
                run_dir / folder.METRICS, batch_size=settings.batch_size, log_every=settings.log_every
            ),
            callbacks.Progress(plan.total_steps, settings.batch_size),
            keras.callbacks.TensorBoard(run_dir / folder.LOGS, write_graph=False),
        ]
    if settings.early_stopping:
        ours.append(
            keras.callbacks.EarlyStopping(
                "val_accuracy", mode="max", patience=settings.early_stopping, restore_best_weights=True
            )
        )
    return history, ours


def uncompiled(model):
    """The model without its optimizer: what is worth saving."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy


if __name__ == "__main__":
    sys.exit(command_line.main(Settings, run, "pretrain"))
